"""`freelm calibrate`: fit the temperatures of a trained model to new rows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freelm.cli.options import Data, Json, Threads, comma_list, say

if TYPE_CHECKING:
    from freelm.train.recalibration import Recalibration


def calibrate(
    model: Annotated[
        str,
        typer.Argument(
            help="Model folder, whose freelm.json is rewritten, or a release.", show_default=False
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            help="Tasks or task files, separated by commas.",
            show_default="all that the model was trained on",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=2, help="Rows of a task at most.")] = 200,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write a copy of the model to this new folder.",
            show_default="the model itself; for a release, NAME-calibrated",
        ),
    ] = None,
    even_if_worse: Annotated[
        bool,
        typer.Option("--even-if-worse", help="Write temperatures even if calibration error rises."),
    ] = False,
    data: Data = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Calibrate probabilities on your own tasks; no answer changes, only its probability.

    Temperatures of verdicts and of competing options, two or many, are fitted to rows of each
    task that were neither trained on nor are reported on (its report_split). Nothing is written
    if cross-validation finds that the calibration error would rise.

    Example: freelm calibrate runs/smollm2-135m-cpu/model --tasks sst2,mytask.yaml --data DIR
    """
    from freelm.data.roots import resolve_data_root
    from freelm.tasks import default_registry
    from freelm.train.recalibration import recalibrate

    names = comma_list(tasks or "")
    chosen = default_registry().get_all(names) if names else None
    root = resolve_data_root(data)
    found = recalibrate(model, chosen, root, limit, say, out, even_if_worse)
    _print(found, as_json)
    if found.folder is None:
        raise typer.Exit(1)


def _print(found: "Recalibration", as_json: bool) -> None:
    if as_json:
        folder = None if found.folder is None else str(found.folder)
        print(json.dumps({**asdict(found), "folder": folder}))
    else:
        before, after = found.before, found.after
        print(f"rows                       {sum(found.rows.values())} of {len(found.rows)} tasks")
        print(f"temperature of verdicts    {before.verdicts:.3f} -> {after.verdicts:.3f}")
        print(f"temperature of two options {before.choices.two:.3f} -> {after.choices.two:.3f}")
        print(f"temperature of many        {before.choices.many:.3f} -> {after.choices.many:.3f}")
        if found.ece_before is not None and found.ece_after is not None:
            print(
                f"mean calibration error     {found.ece_before:.3f} -> {found.ece_after:.3f} "
                "(cross-validated)"
            )
        print(f"model                      {found.folder or 'unchanged'}")
