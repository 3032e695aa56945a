"""Settings of a server: names, key, hosts and limits, and the checks that they must pass."""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from freelm.errors import ConfigError
from freelm.serve.http.limits import Limits

MIN_KEY_LENGTH = 16
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        names: Names of the model that requests may use; the first is its own.
        key: The key that clients must send, or None.
        hosts: Names of this server in `Host` headers, without ports.
        limits: All limits.
        created: When the model was made, in seconds since 1970.
        dtype: Number type that the model computes in.
        labels: Labels of `/classify` requests that name none.
    """

    names: tuple[str, ...]
    key: str | None = None
    hosts: frozenset[str] = LOOPBACK_HOSTS
    limits: Limits = field(default_factory=Limits)
    created: int = 0
    dtype: str | None = None
    labels: tuple[str, ...] = ()


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
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"the key in {variable} must be at least {MIN_KEY_LENGTH} printable ASCII characters "
            "without spaces; `openssl rand -hex 32` makes one"
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


def local_url(host: str, port: int) -> str:
    """URL on this machine of a server that is bound to a host.

    A wildcard is not an address to call: `Host: 0.0.0.0` is refused, because web pages use it to
    get around the same-origin policy of browsers.
    """
    name = host.strip("[]")
    if is_wildcard(host):
        name = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def check_exposure(host: str, key: str | None, forced: bool) -> None:
    """Refuse to serve other machines without a key.

    Raises:
        ConfigError: If the host is not loopback, there is no key, and `forced` is false.
    """
    if key is None and not forced and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set a key (--api-key-env), or pass "
            "--without-key if something else controls access"
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
