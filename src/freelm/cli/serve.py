"""`freelm serve`: answer official clients over HTTP."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from freelm.cli.options import DEFAULT_MODEL, Compile, Device, Dtype, Model, comma_list, say

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.serve.http.limits import Limits
    from freelm.serve.settings import Settings

KEY_VARIABLE = "FREELM_API_KEY"


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    model: Model = DEFAULT_MODEL,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            "--api-key-env",
            help=f"Environment variable with the key that clients must send [{KEY_VARIABLE}].",
            show_default=False,
        ),
    ] = None,
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Listen beyond this machine without a key.")
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
) -> None:
    """Serve a model: a page, and the interfaces of OpenAI decisions, TypeSafe and vLLM.

    Example: freelm serve --model DIR --port 8000
    """
    with _ends_on_sigterm():
        settings = _settings(
            host, model, api_key_env, without_key, allow_host, alias, labels, limit
        )
        load = partial(
            _load, model, settings.limits, dtype=dtype, device=device, compile=compile_model
        )
        _serve(host, port, settings, load)


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the process with 0: while a model is loaded there is nothing to finish.

    The running server has an answer of its own to it.
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
    from freelm.serve.http.limits import read_limits
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
        limits=read_limits(limit or []),
        created=_created(model),
        labels=() if labels is None else tuple(check_labels(comma_list(labels))),
    )


def _created(model: str) -> int:
    path = Path(model)
    return int(path.stat().st_mtime if path.exists() else time.time())


def _load(model: str, limits: "Limits", **options: Any) -> "FreeLM":
    from freelm.api import FreeLM

    return FreeLM.from_pretrained(
        model,
        max_context_tokens=limits.max_context_tokens,
        max_tokens=limits.batch_tokens,
        **options,
    )


def _serve(host: str, port: int, settings: "Settings", load: Callable[[], "FreeLM"]) -> None:
    from freelm.errors import FreeLMError
    from freelm.serve.settings import LOOPBACK_HOSTS, is_wildcard, local_url

    try:
        from freelm.serve.app import make_app
        from freelm.serve.lifecycle import bind, serve
    except ModuleNotFoundError as error:
        raise FreeLMError(
            f"{error.name} is not installed; the server needs `pip install 'freelm[serve]'`"
        ) from None
    from freelm.serve.batching import Engine

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    listener = bind(host, port)
    limits = settings.limits
    engine = Engine.of(load(), limits)
    say(f"{settings.names[0]} at {local_url(host, listener.getsockname()[1])}")
    if is_wildcard(host) and settings.hosts <= LOOPBACK_HOSTS:
        say("other names and addresses of this machine are answered only with --allow-host NAME")
    serve(make_app(engine, settings), listener, limits)
    _end()


def _end() -> NoReturn:
    """End the process with 0 and without the interpreter's way out.

    That takes seconds where the machine is busy (the model and all libraries are taken apart), and
    a thread in the middle of a batch would bring it down.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
