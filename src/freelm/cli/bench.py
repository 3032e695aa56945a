"""`freelm bench`: speed and memory, compared with other systems."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.options import (
    DEFAULT_MODEL,
    Data,
    Device,
    Json,
    Model,
    comma_list,
    data_console,
    print_json,
    say,
)
from freelm.errors import InputError

if TYPE_CHECKING:
    import torch

app = typer.Typer(help="Speed and memory, compared with other systems.", no_args_is_help=True)

Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Processes per measurement; the median counts.")
]

Dtypes = Annotated[str, typer.Option("--dtypes", help="Number types: fp32, bf16, int8.")]


@app.command("judge")
def judge(
    peers: Annotated[
        str,
        typer.Option("--peers", help="Other systems; freelm-compiled is also available."),
    ] = "single,hf-pipeline,gliclass",
    labels: Annotated[str, typer.Option("--labels", help="Numbers of labels.")] = "1,4,16,64,128",
    text_tokens: Annotated[str, typer.Option("--text-tokens", help="Text lengths.")] = "50,200",
    dtypes: Dtypes = "fp32,bf16",
    repeats: Repeats = 3,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Measuring time per number of labels.")
    ] = 3.0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Texts per second of zero-shot classification, by number of labels.

    Example: freelm bench judge --labels 1,64 --text-tokens 200 --dtypes fp32
    """
    from freelm.bench.judge import SYSTEMS, JudgeBench, run_judge_bench
    from freelm.model.compute.device import find_device

    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    place = find_device(device)
    bench = JudgeBench(
        systems,
        _numbers("--labels", labels),
        _numbers("--text-tokens", text_tokens),
        _dtypes(dtypes, place),
        repeats,
        seconds,
        str(place),
    )
    if "gliclass" in systems and find_spec("gliclass") is None:
        say("gliclass is not installed and is left out: pip install freelm[bench]")
        systems.remove("gliclass")
    _report(run_judge_bench(bench), as_json, place)


@app.command("precision")
def precision(
    model: Annotated[str, typer.Argument(help="Model folder or base.", show_default=False)],
    tasks: Annotated[
        str, typer.Option("--tasks", help="Tasks or task files, separated by commas.")
    ],
    data: Data = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Maximum number of rows per task.")
    ] = 500,
    dtypes: Dtypes = "bf16,int8",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Changed answers, speed and memory with other number types than fp32.

    Example: freelm bench precision DIR --tasks sst2,rte --data DIR --dtypes int8
    """
    from freelm.bench.precision import PrecisionBench, run_precision_bench
    from freelm.data.roots import resolve_data_root
    from freelm.model.compute.device import find_device
    from freelm.tasks import default_registry

    place = find_device(device)
    bench = PrecisionBench(
        model,
        default_registry().get_all(comma_list(tasks)),
        _dtypes(dtypes, place),
        resolve_data_root(data),
        limit,
        str(place),
    )
    _report(run_precision_bench(bench), as_json, place)


@app.command("memory")
def memory(
    rows: Annotated[int, typer.Option("--rows", min=2, help="Rows of the file.")] = 100_000,
    labels: Annotated[int, typer.Option("--labels", min=2, help="Labels of one text.")] = 1000,
    text_tokens: Annotated[
        int, typer.Option("--text-tokens", min=1, help="Approximate tokens per text.")
    ] = 16,
    dtypes: Dtypes = "fp32,bf16",
    cases: Annotated[str, typer.Option("--cases", help="rows, labels.")] = "rows,labels",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Peak memory after 1, 10 and 100 percent of many rows and many labels.

    Example: freelm bench memory --rows 2000 --labels 200 --dtypes fp32
    """
    from freelm.bench.memory import CASES, MemoryBench, run_memory_bench
    from freelm.model.compute.device import find_device

    place = find_device(device)
    bench = MemoryBench(
        rows,
        labels,
        text_tokens,
        _dtypes(dtypes, place),
        _known("--cases", comma_list(cases), CASES),
        str(place),
    )
    _report(run_memory_bench(bench), as_json, place)


@app.command("train")
def train(
    peers: Annotated[str, typer.Option("--peers", help="Other systems.")] = "plain",
    precision: Annotated[str, typer.Option("--precision", help="fp32 or bf16.")] = "fp32",
    examples: Annotated[int, typer.Option("--examples", min=1, help="Rows per step.")] = 32,
    tokens: Annotated[
        int, typer.Option("--tokens", min=256, help="Tokens computed at once; more for a GPU.")
    ] = 2048,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Timed steps.")] = 4,
    shape: Annotated[
        str, typer.Option("--shape", help="smollm2-135m, smollm2-360m or gpt2-medium.")
    ] = "smollm2-135m",
    all_weights: Annotated[
        bool, typer.Option("--all-weights", help="Train all weights instead of an adapter.")
    ] = False,
    repeats: Repeats = 3,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Training steps of both signals, compared with transformers' Trainer on the same rows.

    Example: freelm bench train --shape smollm2-360m --all-weights --repeats 1
    """
    from freelm.bench.subjects import SHAPES
    from freelm.bench.train import SYSTEMS, TrainBench, run_train_bench
    from freelm.model.compute.device import find_device
    from freelm.model.compute.precision import check_int8_units

    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    (kind,) = _known("--precision", [precision], ("fp32", "bf16"))
    place = find_device(device)
    if "freelm-int8" in systems:
        if all_weights:
            raise InputError("--peers: freelm-int8 rounds frozen weights; leave --all-weights out")
        check_int8_units(place)
    (body,) = _known("--shape", [shape], SHAPES)
    bench = TrainBench(
        systems, kind, examples, tokens, steps, repeats, str(place), body, all_weights
    )
    _report(run_train_bench(bench), as_json, place)


@app.command("serve")
def serve(
    model: Model = DEFAULT_MODEL,
    peers: Annotated[str, typer.Option("--peers", help="Other systems.")] = "plain",
    clients: Annotated[str, typer.Option("--clients", help="Numbers of clients.")] = "1,8,32,128",
    seconds: Annotated[
        float, typer.Option("--seconds", help="Measuring time per number of clients.")
    ] = 10.0,
    overload_seconds: Annotated[
        float,
        typer.Option("--overload-seconds", help="Seconds at ten times the capacity; 0 skips it."),
    ] = 60.0,
    attacks: Annotated[
        bool,
        typer.Option("--attacks", help="Instead: honest requests while hostile ones arrive."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Requests per second of the server, and its behaviour under overload or attack.

    Example: freelm bench serve --model DIR --clients 1,8 --overload-seconds 0
    """
    from freelm.bench.attacks import AttackBench, run_attack_bench
    from freelm.bench.serve import SYSTEMS, ServeBench, run_serve_bench
    from freelm.model.compute.device import find_device

    if attacks:
        _report(run_attack_bench(AttackBench(model, seconds)), as_json, find_device(None))
        return
    systems = ["freelm", *_known("--peers", comma_list(peers), SYSTEMS[1:])]
    numbers = _numbers("--clients", clients)
    bench = ServeBench(model, systems, numbers, seconds, overload_seconds)
    _report(run_serve_bench(bench), as_json, find_device(None))


def _known(option: str, given: list[str], names: Iterable[str]) -> list[str]:
    for name in given:
        if name not in names:
            raise InputError(f"{option}: {name!r} is not one of {', '.join(names)}")
    return given


def _dtypes(text: str, device: "torch.device") -> list[str]:
    """The number types of `--dtypes`, checked for support by the device."""
    from freelm.bench.runner import DTYPES
    from freelm.model.compute.precision import weights_dtype

    given = _known("--dtypes", comma_list(text), DTYPES)
    for name in given:
        weights_dtype(name, device)
    return given


def _numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(item) for item in comma_list(text)]
    except ValueError:
        raise InputError(f"{option}: {text!r} is not a list of whole numbers") from None
    if not numbers or min(numbers) < 1:
        raise InputError(f"{option}: give numbers of at least 1")
    return numbers


def _report(rows: Iterator[dict[str, Any]], as_json: bool, device: "torch.device") -> None:
    """Print rows as they come, as JSON lines or as a table with the machine's description."""
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
    say("  ".join(f"{key} {value}" for key, value in describe(device).items() if value))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
