"""Life of the server process: bind, listen, signals, drain."""

import os
import signal
import socket
from types import FrameType

import uvicorn

from freelm.errors import ConfigError
from freelm.serve.batching import Engine
from freelm.serve.http.asgi import App
from freelm.serve.http.connection import ServerConfig
from freelm.serve.http.limits import Limits

KEEP_ALIVE_SECONDS = 15


def bind(host: str, port: int) -> socket.socket:
    """Bind a port; called before the model is loaded, so that a taken port is reported at once.

    Raises:
        ConfigError: If it is taken, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"host {host!r} cannot be used: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # Allows a port whose last server has just stopped, not one that is in use.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used: {error.strerror}; choose another with --port"
        ) from None
    return listener


def serve(app: App, listener: socket.socket, engine: Engine, limits: Limits) -> bool:
    """Listen and answer requests until a signal arrives or the engine fails for good.

    SIGTERM or SIGINT: no new connections; open requests are finished within `drain_seconds`, then
    the function returns. A second signal ends the process at once.

    Args:
        app: The application.
        listener: A bound socket.
        engine: The engine of the application.
        limits: Sizes and times of the protocol.

    Returns:
        Whether the engine was still working.
    """
    server = make_server(app, limits)

    def stop() -> None:
        server.should_exit = True

    engine.on_failure = stop
    server.run(sockets=[listener])
    return not engine.failed


def make_server(app: App, limits: Limits) -> uvicorn.Server:
    """A server that enforces the limits of the protocol.

    Args:
        app: The application.
        limits: Sizes and times of the protocol.
    """
    config = ServerConfig(
        app,
        limits,
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
    """Exits with 0 after a signal (uvicorn raises it again), and at once after a second one."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + signal.Signals(sig))
        self.should_exit = True
