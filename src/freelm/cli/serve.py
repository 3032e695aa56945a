"""`freelm serve`: a model behind HTTP interfaces that official clients speak."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from freelm.cli.options import DEFAULT_MODEL, Compile, Device, Dtype, Threads, comma_list, say

if TYPE_CHECKING:
    from freelm.serve.settings import Settings

KEY_VARIABLE = "FREELM_API_KEY"


class LogFormat(StrEnum):
    """Forms of the log."""

    TEXT = "text"
    JSON = "json"


Model = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="Model folder, shipped name, or an untrained base such as base/smollm2-135m.",
        show_default=DEFAULT_MODEL,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="FREELM_MODEL",
        help="The same as the argument MODEL.",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--api-key-env",
        help=f"Environment variable with the key that clients must send [{KEY_VARIABLE}].",
        show_default=False,
    ),
]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        help="YAML file with a key per client and its limits; read again on SIGHUP.",
        show_default=False,
    ),
]
WithoutKey = Annotated[
    bool, typer.Option("--without-key", help="Serve other machines without a key.")
]
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", help="Certificate in PEM, to serve HTTPS.", show_default=False),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", help="Private key of the certificate.", show_default=False),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="A name or address of this server; may be repeated."),
]
Alias = Annotated[
    list[str] | None,
    typer.Option("--alias", help="Another name of the model; may be repeated."),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="Labels of requests to /classify that name none, separated by commas."
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="NAME=VALUE", help="Change a limit; may be repeated."),
]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=64, help="Processes, each with a model.")
]
LogForm = Annotated[LogFormat, typer.Option("--log-format", help="Form of the log.")]
Traces = Annotated[
    bool,
    typer.Option("--traces", help="Send OpenTelemetry traces; set up by the OTEL_* variables."),
]


def serve(
    model: Model = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model_option: ModelOption = None,
    api_key_env: ApiKeyEnv = None,
    keys: Keys = None,
    without_key: WithoutKey = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    allow_host: AllowHost = None,
    alias: Alias = None,
    labels: Labels = None,
    limit: Limit = None,
    workers: Workers = 1,
    log_format: LogForm = LogFormat.TEXT,
    traces: Traces = False,
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
        from freelm.serve.settings import tls_files

        settings = _settings(
            host, name, api_key_env, keys, without_key, allow_host, alias, labels, limit
        )
        working = _run(
            model=name,
            settings=settings,
            host=host,
            port=port,
            dtype=dtype,
            device=device,
            compile_model=compile_model,
            threads=threads,
            workers=workers,
            tls=tls_files(tls_cert, tls_key),
            log_format=log_format.value,
            traces=traces,
        )
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
    keys: Path | None,
    without_key: bool,
    allow_host: list[str] | None,
    alias: list[str] | None,
    labels: str | None,
    limit: list[str] | None,
) -> "Settings":
    from freelm.judge.validation import check_labels
    from freelm.serve.http.keys import KeyFile
    from freelm.serve.http.limits import parse_limits
    from freelm.serve.settings import (
        Settings,
        check_exposure,
        read_key,
        served_hosts,
        served_name,
    )

    settings = Settings(
        names=tuple(dict.fromkeys([served_name(model), *(alias or [])])),
        key=read_key(api_key_env or KEY_VARIABLE, required=api_key_env is not None),
        keys=None if keys is None else KeyFile(keys),
        hosts=served_hosts(host, allow_host or []),
        limits=parse_limits(limit or []),
        labels=() if labels is None else tuple(check_labels(comma_list(labels))),
    )
    check_exposure(host, settings.needs_key, without_key)
    return settings


def _run(**options: Any) -> bool:
    """Serve until a signal; returns whether everything was still working."""
    from freelm.errors import FreeLMError

    try:
        from freelm.serve.launch import Launch, run
    except ModuleNotFoundError as error:
        raise FreeLMError(
            f"{error.name} is not installed; the server needs `pip install 'freelm[serve]'`"
        ) from None
    return run(Launch(**options), say)


def _exit(code: int) -> NoReturn:
    """End the process without the interpreter's shutdown.

    That takes seconds on a busy machine, to free the model and all libraries, and would crash in a
    thread that is in the middle of a batch.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
