"""Settings of a server: names, key, hosts and limits, and the checks that they must pass."""

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from freelm.errors import ConfigError
from freelm.serve.http.keys import KEY_FORM, KeyFile, is_good_key
from freelm.serve.http.limits import Limits

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        names: Names of the model that requests may use; the first is its own.
        key: The key that clients must send, or None.
        keys: The keys of single clients, or None.
        hosts: Names of this server in `Host` headers, without ports.
        limits: All limits.
        created: When the model was made, in seconds since 1970.
        dtype: Number type that the model computes in.
        labels: Labels of `/classify` requests that name none.
    """

    names: tuple[str, ...]
    key: str | None = None
    keys: KeyFile | None = None
    hosts: frozenset[str] = LOOPBACK_HOSTS
    limits: Limits = field(default_factory=Limits)
    created: int = 0
    dtype: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def needs_key(self) -> bool:
        """Whether clients must send a key."""
        return self.key is not None or self.keys is not None


@dataclass(frozen=True)
class TlsFiles:
    """Files of a TLS server, in PEM.

    Attributes:
        certificate: The certificate, with those of its issuers after it.
        key: Its private key, unencrypted.
    """

    certificate: Path
    key: Path


def tls_files(certificate: Path | None, key: Path | None) -> TlsFiles | None:
    """The files of a TLS server; None if none are named.

    Raises:
        ConfigError: If only one is named, or they cannot be read or do not belong together.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("--tls-cert and --tls-key belong together: give both, or none")
    for path in (certificate, key):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
    try:
        # An encrypted key would ask for its password on the terminal; an empty one is wrong.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{certificate} and {key} are no certificate in PEM with its unencrypted key ({reason})"
        ) from None
    return TlsFiles(certificate, key)


def read_key(variable: str, required: bool) -> str | None:
    """The key in an environment variable.

    Args:
        variable: Its name.
        required: Whether it must be set, because the user named it.

    Raises:
        ConfigError: If it is missing but required, or too weak. The message never shows the key.
    """
    key = os.environ.get(variable)
    if key is None:
        if required:
            raise ConfigError(f"the environment variable {variable} is not set; put the key in it")
        return None
    if not is_good_key(key):
        raise ConfigError(
            f"the key in {variable} must be {KEY_FORM}; `openssl rand -hex 32` makes one"
        )
    return key


def is_loopback(host: str) -> bool:
    """Whether a host to bind to is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether a host to bind to stands for all addresses of this machine."""
    try:
        return not host or ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def local_url(host: str, port: int, tls: bool = False) -> str:
    """URL on this machine of a server that is bound to a host.

    A wildcard is not an address to call: `Host: 0.0.0.0` is refused, because web pages use it to
    get around the same-origin policy of browsers.
    """
    name = host.strip("[]")
    if is_wildcard(host):
        name = "::1" if ":" in host else "127.0.0.1"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{name}]:{port}/" if ":" in name else f"{scheme}://{name}:{port}/"


def check_exposure(host: str, has_key: bool, forced: bool) -> None:
    """Refuse to serve other machines without a key.

    Raises:
        ConfigError: If the host is not loopback, there is no key, and `forced` is false.
    """
    if not has_key and not forced and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set a key (--api-key-env or --keys), or "
            "pass --without-key if something else controls access"
        )


def served_hosts(host: str, more: list[str]) -> frozenset[str]:
    """Names that clients may call a server by that is bound to a host."""
    bound = host.strip("[]").lower()
    named = frozenset() if is_wildcard(host) else frozenset({bound})
    return LOOPBACK_HOSTS | named | frozenset(name.strip("[]").lower() for name in more)


def served_name(model: str) -> str:
    """Name of a model in answers: never a path of this machine."""
    path = Path(model)
    if not path.exists():
        return model
    parts = [part for part in path.resolve().parts if part not in ("/", "model")]
    return parts[-1] if parts else "freelm"
