"""`freelm bench`: speed and memory beside other ways to the same answer."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from freelm.cli.options import (
    DEFAULT_MODEL,
    Json,
    Model,
    comma_list,
    data_console,
    print_json,
    say,
)
from freelm.errors import InputError

app = typer.Typer(help="Speed and memory, side by side in one run.", no_args_is_help=True)

Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Processes per measurement; the median counts.")
]


@app.command("judge")
def judge(
    peers: Annotated[
        str, typer.Option("--peers", help="Systems beside freelm.")
    ] = "single,hf-pipeline,gliclass",
    labels: Annotated[str, typer.Option("--labels", help="Numbers of labels.")] = "1,4,16,64,128",
    text_tokens: Annotated[str, typer.Option("--text-tokens", help="Text lengths.")] = "50,200",
    dtypes: Annotated[str, typer.Option("--dtypes", help="Types of numbers.")] = "fp32,bf16",
    repeats: Repeats = 3,
    seconds: Annotated[float, typer.Option("--seconds", help="Measuring time of each.")] = 3.0,
    as_json: Json = False,
) -> None:
    """Texts per second of zero-shot classification, by number of labels.

    Example: freelm bench judge --labels 1,64 --text-tokens 200 --dtypes fp32
    """
    from freelm.bench.judge import SYSTEMS, JudgeBench, run_judge_bench

    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    bench = JudgeBench(
        systems,
        _numbers("--labels", labels),
        _numbers("--text-tokens", text_tokens),
        _known("--dtypes", comma_list(dtypes), ("fp32", "bf16")),
        repeats,
        seconds,
    )
    _report(run_judge_bench(bench), as_json)


@app.command("train")
def train(
    peers: Annotated[str, typer.Option("--peers", help="Systems beside freelm.")] = "plain",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    examples: Annotated[int, typer.Option("--examples", min=1, help="Rows a step.")] = 32,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps that are timed.")] = 4,
    repeats: Repeats = 3,
    as_json: Json = False,
) -> None:
    """Training steps of both signals beside transformers' Trainer on the same rows.

    Example: freelm bench train --repeats 1
    """
    from freelm.bench.train import SYSTEMS, TrainBench, run_train_bench

    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    (kind,) = _known("--precision", [precision], ("fp32", "bf16"))
    _report(run_train_bench(TrainBench(systems, kind, examples, steps, repeats)), as_json)


@app.command("serve")
def serve(
    model: Model = DEFAULT_MODEL,
    peers: Annotated[str, typer.Option("--peers", help="Systems beside freelm.")] = "plain",
    clients: Annotated[str, typer.Option("--clients", help="Numbers of clients.")] = "1,8,32,128",
    seconds: Annotated[float, typer.Option("--seconds", help="Measuring time of each.")] = 10.0,
    overload_seconds: Annotated[
        float, typer.Option("--overload-seconds", help="Time at ten times the capacity; 0: none.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Requests per second of the server on this machine, and how it bears too many of them.

    Example: freelm bench serve --model DIR --clients 1,8 --overload-seconds 0
    """
    from freelm.bench.serve import SYSTEMS, ServeBench, run_serve_bench

    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    numbers = _numbers("--clients", clients)
    _report(
        run_serve_bench(ServeBench(model, systems, numbers, seconds, overload_seconds)), as_json
    )


def _known(option: str, given: list[str], names: Iterable[str]) -> list[str]:
    for name in given:
        if name not in names:
            raise InputError(f"{option}: {name!r} is none of {', '.join(names)}")
    return given


def _numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(item) for item in comma_list(text)]
    except ValueError:
        raise InputError(f"{option}: {text!r} is no list of whole numbers") from None
    if not numbers or min(numbers) < 1:
        raise InputError(f"{option}: give numbers of at least 1")
    return numbers


def _report(rows: Iterator[dict[str, Any]], as_json: bool) -> None:
    """Show rows as they come: JSON lines, or a table at the end with the machine's description."""
    from rich.table import Table

    from freelm.bench.machine import describe

    if as_json:
        print_json(rows)
        return
    table: Table | None = None
    for row in rows:
        say("  ".join(f"{key} {_shown(value)}" for key, value in row.items()))
        table = table or Table(*row, box=None)
        table.add_row(*(_shown(value) for value in row.values()))
    if table is not None:
        data_console().print(table)
    say("  ".join(f"{key} {value}" for key, value in describe().items() if value))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
