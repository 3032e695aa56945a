"""Life of the server process: bind, listen, signals, drain."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from freelm.errors import ConfigError
from freelm.serve.batching import Engine
from freelm.serve.http.asgi import App
from freelm.serve.http.connection import ServerConfig
from freelm.serve.http.limits import Limits
from freelm.serve.settings import TlsFiles

log = logging.getLogger("freelm.serve")

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


def serve(
    app: App,
    listener: socket.socket,
    engine: Engine,
    limits: Limits,
    tls: TlsFiles | None = None,
) -> bool:
    """Listen and answer requests until a signal arrives or the engine fails for good.

    SIGTERM or SIGINT: no new connections; open requests are finished within `drain_seconds`, then
    the function returns. A second signal ends the process at once.

    Args:
        app: The application.
        listener: A bound socket.
        engine: The engine of the application.
        limits: Sizes and times of the protocol.
        tls: Certificate and its key; None serves plain HTTP.

    Returns:
        Whether the engine was still working.
    """
    server = make_server(app, limits, tls)

    def stop() -> None:
        server.should_exit = True

    engine.on_failure = stop
    server.run(sockets=[listener])
    return not engine.failed


def serve_workers(
    make_app: Callable[[], App],
    workers: int,
    listener: socket.socket,
    limits: Limits,
    tls: TlsFiles | None = None,
) -> bool:
    """Answer requests in several processes that share a socket, until a signal arrives.

    Signals do the same as with `serve`. SIGHUP goes to every worker. A worker that ends is
    replaced.

    Args:
        make_app: Makes the application in a worker; it can be pickled.
        workers: Number of processes.
        listener: A bound socket.
        limits: Sizes and times of the protocol.
        tls: Certificate and its key; None serves plain HTTP.

    Returns:
        Whether all workers could start.
    """
    config = _config(make_app, limits, tls, factory=True, workers=workers)
    supervisor = _Supervisor(config, [listener])
    supervisor.run()
    return not supervisor.failed


def make_server(app: App, limits: Limits, tls: TlsFiles | None = None) -> uvicorn.Server:
    """A server that enforces the limits of the protocol.

    Args:
        app: The application.
        limits: Sizes and times of the protocol.
        tls: Certificate and its key; None serves plain HTTP.
    """
    return _Server(_config(app, limits, tls))


def _config(app: Any, limits: Limits, tls: TlsFiles | None, **options: Any) -> ServerConfig:
    return ServerConfig(
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
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else str(tls.key),
        **options,
    )


class _Server(uvicorn.Server):
    """Exits with 0 after a signal (uvicorn raises it again), and at once after a second one."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + signal.Signals(sig))
        self.should_exit = True


class _Supervisor(Multiprocess):
    """Passes SIGHUP on to the workers, and ends them at once after a second SIGTERM or SIGINT."""

    def __init__(self, config: ServerConfig, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._stopping = False
        self.failed = False
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, self._stop)

    def _stop(self, sig: int, frame: FrameType | None) -> None:
        if self._stopping:
            for process in self.processes:
                process.process.kill()
            os._exit(128 + sig)
        self._stopping = True
        self.signal_queue.append(sig)

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended; stop if one could not start.

        uvicorn also sends pings, which a worker cannot answer while it imports torch, and waits
        for the answers of workers that have just ended.
        """
        for i, process in enumerate(self.processes):
            if process.process.is_alive():
                continue
            if process.exitcode == STARTUP_FAILURE:
                self.failed = True
                self.should_exit.set()
                return
            log.warning("worker %s ended with %s; another starts", process.pid, process.exitcode)
            self.processes[i] = Process(self.config, self.sockets)
            self.processes[i].start()

    def handle_hup(self) -> None:
        """Reload the keys of every worker."""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)
