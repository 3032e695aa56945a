"""Keeps tests on this machine: sockets may reach loopback addresses and local files only."""

import ipaddress
import socket
from typing import Any


class NetworkBlocked(Exception):
    """A test that is not marked `network` tried to leave this machine."""


class _Guard:
    """Refuses and remembers what would leave this machine; kept as one object per process."""

    def __init__(self) -> None:
        self.open = False
        self.attempts: list[str] = []

    def check(self, host: object) -> None:
        if not self.open and not _is_local(host):
            self.attempts.append(str(host))
            raise NetworkBlocked(f"a test tried to reach {host}; mark it `network` if it must")


def _is_local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


guard = _Guard()
_connect, _connect_ex = socket.socket.connect, socket.socket.connect_ex
_sendto, _getaddrinfo = socket.socket.sendto, socket.getaddrinfo


def _check_address(sock: socket.socket, address: Any) -> None:
    if sock.family != socket.AF_UNIX:
        guard.check(address[0])


def _guarded_connect(self: socket.socket, address: Any) -> None:
    _check_address(self, address)
    _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    _check_address(self, address)
    return _connect_ex(self, address)


def _guarded_sendto(self: socket.socket, *args: Any) -> int:
    _check_address(self, args[-1])
    return _sendto(self, *args)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    guard.check(host)
    return _getaddrinfo(host, *args, **kwargs)


def install() -> None:
    """Put the guard before the socket module's doors, for the life of the process."""
    setattr(socket.socket, "connect", _guarded_connect)  # noqa: B010
    setattr(socket.socket, "connect_ex", _guarded_connect_ex)  # noqa: B010
    setattr(socket.socket, "sendto", _guarded_sendto)  # noqa: B010
    socket.getaddrinfo = _guarded_getaddrinfo
