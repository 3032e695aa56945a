"""`freelm serve`: a model behind HTTP interfaces that official clients speak."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from freelm.cli.options import DEFAULT_MODEL, Compile, Device, Dtype, Threads, comma_list, say

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.serve.http.limits import Limits
    from freelm.serve.settings import Settings

KEY_VARIABLE = "FREELM_API_KEY"

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="FREELM_MODEL",
        help="The same as the argument MODEL.",
        show_default=False,
    ),
]


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model folder, shipped name, or an untrained base such as base/smollm2-135m.",
            show_default=DEFAULT_MODEL,
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    model_option: ModelOption = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env",
            help=f"Environment variable with the key that clients must send [{KEY_VARIABLE}].",
            show_default=False,
        ),
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Serve other machines without a key.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A name or address of this server; may be repeated."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", help="Another name of the model; may be repeated."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="Labels of requests to /classify that name none, separated by commas.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="Change a limit; may be repeated."),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = None,
    compile_model: Compile = False,
    threads: Threads = None,
) -> None:
    """Serve a model: a page, and the interfaces of OpenAI decisions, TypeSafe and vLLM.

    Example: freelm serve freelm-135m --port 8000
    """
    name = _chosen_model(model, model_option)
    with _exit_on_sigterm():
        settings = _settings(host, name, api_key_env, without_key, allow_host, alias, labels, limit)
        load = partial(
            _load, name, settings.limits, dtype=dtype, device=device, compile=compile_model
        )
        working = _serve(host, port, name, settings, load)
    _exit(0 if working else 1)


def _chosen_model(argument: str | None, option: str | None) -> str:
    """The model that is named by the argument, else by the option, else the default.

    The option may come from the environment, so the argument wins.
    """
    return argument or option or DEFAULT_MODEL


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Exit with 0 on SIGTERM: while the model is loaded there is nothing to finish.

    The running server handles the signal itself.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(
    host: str,
    model: str,
    api_key_env: str | None,
    without_key: bool,
    allow_host: list[str] | None,
    alias: list[str] | None,
    labels: str | None,
    limit: list[str] | None,
) -> "Settings":
    from freelm.judge.validation import check_labels
    from freelm.serve.http.limits import parse_limits
    from freelm.serve.settings import (
        Settings,
        check_exposure,
        read_key,
        served_hosts,
        served_name,
    )

    key = read_key(api_key_env or KEY_VARIABLE, required=api_key_env is not None)
    check_exposure(host, key, without_key)
    return Settings(
        names=tuple(dict.fromkeys([served_name(model), *(alias or [])])),
        key=key,
        hosts=served_hosts(host, allow_host or []),
        limits=parse_limits(limit or []),
        labels=() if labels is None else tuple(check_labels(comma_list(labels))),
    )


def _load(model: str, limits: "Limits", **options: Any) -> "FreeLM":
    from freelm.api import FreeLM

    return FreeLM.from_pretrained(
        model,
        max_context_tokens=limits.max_context_tokens,
        max_tokens=limits.batch_tokens,
        **options,
    )


def _serve(
    host: str, port: int, model: str, settings: "Settings", load: Callable[[], "FreeLM"]
) -> bool:
    """Serve until a signal; returns whether the engine was still working."""
    from freelm.errors import FreeLMError
    from freelm.serve.settings import LOOPBACK_HOSTS, is_wildcard, local_url

    try:
        from freelm.serve.app import make_app
        from freelm.serve.lifecycle import bind, serve
    except ModuleNotFoundError as error:
        raise FreeLMError(
            f"{error.name} is not installed; the server needs `pip install 'freelm[serve]'`"
        ) from None
    from freelm.serve.backend import ModelBackend, creation_time
    from freelm.serve.batching import Engine

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    listener = bind(host, port)
    backend = ModelBackend(load())
    engine = Engine(backend, settings.limits)
    engine.measure_speed(backend.sample_batch())
    settings = replace(settings, created=creation_time(model), dtype=backend.dtype)
    say(f"{settings.names[0]} at {local_url(host, listener.getsockname()[1])}")
    if is_wildcard(host) and settings.hosts <= LOOPBACK_HOSTS:
        say("other names and addresses of this machine are answered only with --allow-host NAME")
    return serve(make_app(engine, settings), listener, engine, settings.limits)


def _exit(code: int) -> NoReturn:
    """End the process without the interpreter's shutdown.

    That takes seconds on a busy machine, to free the model and all libraries, and would crash in a
    thread that is in the middle of a batch.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
