"""From the bound socket to the last answer: start, signals, drain, exit."""

import os
import signal
import socket
from types import FrameType

import uvicorn

from freelm.errors import ConfigError
from freelm.serve.http.connection import guarded_protocol
from freelm.serve.http.errors import App
from freelm.serve.http.limits import Limits

KEEP_ALIVE_SECONDS = 15


def bind(host: str, port: int) -> socket.socket:
    """Take a port, before anything slow is done.

    Raises:
        ConfigError: If it is taken, or the host is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"host {host!r} cannot be used: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # A port whose last server has just gone may be taken again; one in use may not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used: {error.strerror}; choose another with --port"
        ) from None
    return listener


def serve(app: App, listener: socket.socket, limits: Limits) -> None:
    """Listen, and answer requests until a signal ends it.

    SIGTERM or SIGINT: no new connections, what is in work is finished within `drain_seconds`, and
    the function returns. A second one ends the process at once.

    Args:
        app: The application.
        listener: A bound socket.
        limits: Sizes and times of the protocol.
    """
    make_server(app, limits).run(sockets=[listener])


def make_server(app: App, limits: Limits) -> uvicorn.Server:
    """A server that keeps the limits of the protocol.

    Args:
        app: The application.
        limits: Sizes and times of the protocol.
    """
    config = uvicorn.Config(
        app,
        http=guarded_protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.max_header_bytes,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=limits.drain_seconds,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Ends with 0 after a signal (uvicorn raises it again), and at once after a second one."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + signal.Signals(sig))
        self.should_exit = True
