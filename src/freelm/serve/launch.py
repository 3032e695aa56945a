"""From the options of `freelm serve` to one or several serving processes."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from uvicorn.config import STARTUP_FAILURE

from freelm.api import FreeLM
from freelm.errors import FreeLMError
from freelm.model.compute.precision import Dtype
from freelm.model.compute.threads import available_processors, request_threads
from freelm.serve.app import make_app
from freelm.serve.backend import ModelBackend, creation_time
from freelm.serve.batching import Engine
from freelm.serve.http.asgi import App
from freelm.serve.lifecycle import bind, serve, serve_workers
from freelm.serve.logs import LogFormat, configure_logs
from freelm.serve.settings import LOOPBACK_HOSTS, Settings, TlsFiles, is_wildcard, local_url
from freelm.serve.tracing import traced


@dataclass(frozen=True)
class Launch:
    """What a serving process needs to know; it can be pickled.

    Attributes:
        model: Folder or name of the model.
        settings: Names, keys, hosts and limits.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        dtype: Number type to compute in, or `auto`.
        device: Where to compute; None takes a GPU if there is one.
        compile_model: Whether the model is compiled.
        threads: Threads of each process; None shares the processors out.
        workers: Number of processes, each with a model.
        tls: Certificate and its key; None serves plain HTTP.
        log_format: Form of the log.
        traces: Whether requests are traced.
    """

    model: str
    settings: Settings
    host: str = "127.0.0.1"
    port: int = 8000
    dtype: Dtype = "auto"
    device: str | None = None
    compile_model: bool = False
    threads: int | None = None
    workers: int = 1
    tls: TlsFiles | None = None
    log_format: LogFormat = "text"
    traces: bool = False


def run(launch: Launch, say: Callable[[str], None]) -> bool:
    """Serve until a signal.

    Args:
        launch: The options.
        say: Told the address of the server.

    Returns:
        Whether everything was still working.
    """
    configure_logs(launch.log_format)
    limits = launch.settings.limits
    listener = bind(launch.host, launch.port)
    address = local_url(launch.host, listener.getsockname()[1], tls=launch.tls is not None)
    if launch.workers > 1:
        if launch.threads is None:
            request_threads(max(available_processors() // launch.workers, 1))
        _announce(launch, f"{launch.workers} workers of {launch.settings.names[0]}", address, say)
        return serve_workers(
            partial(worker_app, launch), launch.workers, listener, limits, launch.tls
        )
    app, engine = build(launch)
    _announce(launch, launch.settings.names[0], address, say)
    return serve(app, listener, engine, limits, launch.tls)


def build(launch: Launch) -> tuple[App, Engine]:
    """Load the model; returns the application and its engine."""
    limits = launch.settings.limits
    model = FreeLM.from_pretrained(
        launch.model,
        max_context_tokens=limits.max_context_tokens,
        max_tokens=limits.batch_tokens,
        dtype=launch.dtype,
        device=launch.device,
        compile=launch.compile_model,
    )
    backend = ModelBackend(model)
    engine = Engine(backend, limits)
    engine.measure_speed(backend.sample_batch())
    created = creation_time(launch.model)
    app = make_app(engine, replace(launch.settings, created=created, dtype=backend.dtype))
    return traced(app) if launch.traces else app, engine


def worker_app(launch: Launch) -> App:
    """The application of a worker process.

    A start that fails ends the process with the exit code that stops the other workers, too.
    """
    configure_logs(launch.log_format)
    try:
        app, engine = build(launch)
    except FreeLMError as error:
        print(f"freelm: error: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    # The worker finishes what it can and ends; another one takes its place.
    engine.on_failure = lambda: os.kill(os.getpid(), signal.SIGTERM)
    return app


def _announce(launch: Launch, what: str, address: str, say: Callable[[str], None]) -> None:
    say(f"{what} at {address}")
    if is_wildcard(launch.host) and launch.settings.hosts <= LOOPBACK_HOSTS:
        say("other names and addresses of this machine are answered only with --allow-host NAME")
