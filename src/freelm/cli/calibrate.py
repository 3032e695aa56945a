"""`freelm calibrate`: fit the temperatures of a trained model anew."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import Data, Json, Threads, comma_list, say


def calibrate(
    model: Annotated[
        Path,
        typer.Argument(help="Model folder; its freelm.json is rewritten.", show_default=False),
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
    data: Data = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Make probabilities honest on tasks of your own; no answer changes, only how sure it is.

    Temperatures of verdicts and of competing options, two or many, are fitted on rows of each
    task that were neither trained on nor are reported on (its report_split).

    Example: freelm calibrate runs/smollm2-135m-cpu/model --tasks sst2,mytask.yaml --data DIR
    """
    from freelm.data.roots import resolve_data_root
    from freelm.eval.recalibration import recalibrate
    from freelm.tasks import default_registry

    names = comma_list(tasks or "")
    chosen = default_registry().get_all(names) if names else None
    found = recalibrate(model, chosen, resolve_data_root(data), limit, say)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    before, after = found.before, found.after
    print(f"rows                       {sum(found.rows.values())} of {len(found.rows)} tasks")
    print(f"temperature of verdicts    {before.verdicts:.3f} -> {after.verdicts:.3f}")
    print(f"temperature of two options {before.choices.two:.3f} -> {after.choices.two:.3f}")
    print(f"temperature of many        {before.choices.many:.3f} -> {after.choices.many:.3f}")
    if found.ece_before is not None and found.ece_after is not None:
        print(
            f"mean calibration error     {found.ece_before:.3f} -> {found.ece_after:.3f} "
            "(each half of the rows by what fits the other)"
        )
