"""`freelm train`: start or resume a training run."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import Data, Threads


class Resume(StrEnum):
    """What to do in a folder that holds a run."""

    auto = "auto"
    never = "never"


def train(
    config: Annotated[Path, typer.Argument(help="The run's YAML file.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/NAME without it.")
    ] = None,
    resume: Annotated[
        Resume,
        typer.Option("--resume", help="auto resumes a run; never refuses a folder that holds one."),
    ] = Resume.auto,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value; may be repeated."),
    ] = None,
    data: Data = None,
    threads: Threads = None,
) -> None:
    """Train a model; the same command resumes an interrupted run.

    Example: freelm train configs/smollm2-135m-cpu.yaml --data DIR --set train.num_steps=100
    """
    from freelm.config import load_config
    from freelm.data.roots import resolve_data_root
    from freelm.train.run import train as run

    settings = load_config(config, override)
    root = resolve_data_root(data) if data else None
    folder = run(settings, out or Path("runs") / settings.name, root, resume.value)
    if os.environ.get("RANK", "0") == "0":  # under torchrun every process comes here
        print(folder)
