"""What a server is set to: names, key, hosts and limits; and the rules that these must keep."""

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
        names: Names that requests may call the model by; the first is the one it has.
        key: What clients must send, or None.
        hosts: Names of this server in `Host` headers, without ports.
        limits: All limits.
        created: When the model was made, in seconds since 1970.
        labels: Labels of a `/classify` request that names none.
    """

    names: tuple[str, ...]
    key: str | None = None
    hosts: frozenset[str] = LOOPBACK_HOSTS
    limits: Limits = field(default_factory=Limits)
    created: int = 0
    labels: tuple[str, ...] = ()


def read_key(variable: str, required: bool) -> str | None:
    """The key in an environment variable.

    Args:
        variable: Its name.
        required: Whether it was asked for by name, so that it must be there.

    Raises:
        ConfigError: If it is missing though required, or no good key. The key is never shown.
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
    """Whether a host to bind to can be reached from this machine alone."""
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
    """Where a server that is bound to a host is found from this machine.

    A wildcard is no address to call: `Host: 0.0.0.0` is refused, since it is a way around the
    rules by which browsers keep sites apart.
    """
    name = host.strip("[]")
    if is_wildcard(host):
        name = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def check_exposure(host: str, key: str | None, forced: bool) -> None:
    """Refuse to be reachable from other machines without a key.

    Raises:
        ConfigError: If the host is not loopback, there is no key, and it is not forced.
    """
    if key is None and not forced and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set a key (--api-key-env), or say "
            "--without-key if something else keeps strangers out"
        )


def served_hosts(host: str, more: list[str]) -> frozenset[str]:
    """Names under which clients may call a server that is bound to a host."""
    bound = host.strip("[]").lower()
    named = frozenset() if is_wildcard(host) else frozenset({bound})
    return LOOPBACK_HOSTS | named | frozenset(name.strip("[]").lower() for name in more)


def served_name(model: str) -> str:
    """What a model is called in answers: never a path of this machine."""
    path = Path(model)
    if not path.exists():
        return model
    parts = [part for part in path.resolve().parts if part not in ("/", "model")]
    return parts[-1] if parts else "freelm"
