"""Options that several commands share, and how they read and write."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.errors import InputError
from freelm.judge.validation import LongTexts
from freelm.model.compute.threads import request_threads

if TYPE_CHECKING:
    from rich.console import Console

    from freelm.api import FreeLM

DEFAULT_MODEL = "freelm-135m"

Text = Annotated[
    str, typer.Argument(help="The text; - or nothing reads standard input.", show_default=False)
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="FREELM_MODEL",
        help="Model folder, shipped name, or an untrained base such as base/smollm2-135m.",
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Type of numbers: fp32, bf16, int8 (often the fastest on a CPU, and less exact), or "
        "auto: bf16 where the machine computes it faster, else fp32.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where to compute: cpu, cuda, or one of several GPUs such as cuda:1.",
        show_default="a GPU if there is one",
    ),
]


def _use_threads(count: int | None) -> int | None:
    """Apply `--threads` before a command imports torch."""
    request_threads(count)
    return count


Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        callback=_use_threads,
        help="Threads to compute with.",
        show_default="one per available core",
    ),
]
"""A command only has to declare this option: it takes effect when it is parsed."""
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model: a minute at the start, then faster; for servers and long files.",
    ),
]
Long = Annotated[
    LongTexts,
    typer.Option(
        "--long-texts",
        help="What happens to a text that is too long: its end is cut, it is refused (in a file: a "
        "bad row), or it is read whole in overlapping windows and each claim gets the mean of its "
        "margins. The answer says so.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="FREELM_DATA", help="Data root, or miniworld; else the Hub is asked."
    ),
]


def load(name: str, **settings: Any) -> "FreeLM":
    """Load a model for a command.

    Args:
        name: Name of the model.
        settings: Further arguments of `FreeLM.from_pretrained`.
    """
    from freelm.api import FreeLM

    return FreeLM.from_pretrained(name, **settings)


def load_judge(name: str, **settings: Any) -> "FreeLM":
    """As `load`, for commands that answer: warn about a model whose verdicts are untrained."""
    model = load(name, **settings)
    if not model.facts.markers:
        say(f"{name} is untrained: it is judged by a prompt, and hardly better than chance")
    if was_taught_label_words(model):
        say(
            f"{name} was trained to write the words of labels; its verdicts are untrained. "
            "Only `freelm compare` evaluates such a model"
        )
    return model


def was_taught_label_words(model: "FreeLM") -> bool:
    """Whether a model was trained to write the words of labels, not to judge."""
    return bool(model.facts.record.get("target") == "label_words")


def read_text(text: str) -> str:
    """The text of an argument, or of standard input for `-`, without the line end that closes it.

    Raises:
        InputError: If standard input is not UTF-8 text.
    """
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8 (byte {error.start})") from None


def print_json(objects: Iterable[Any]) -> None:
    """Write one JSON object per line to standard output."""
    for item in objects:
        print(json.dumps(item, ensure_ascii=False), flush=True)


def data_console() -> "Console":
    """A console for tables on standard output, wide enough for them where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def say(line: str) -> None:
    """Say something on standard error."""
    print(line, file=sys.stderr, flush=True)


def comma_list(text: str) -> list[str]:
    """The items of a comma-separated option."""
    return [item.strip() for item in text.split(",") if item.strip()]
