"""`freelm export`: write a trained model in the forms that others take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import comma_list, say


class Format(StrEnum):
    """What is written."""

    hf = "hf"
    release = "release"


def export(
    model: Annotated[str, typer.Argument(help="Model folder or release.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="A new folder to write.", show_default=False)],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="hf: a stock Hugging Face folder, adapter merged; release: adapter in half "
            "precision, facts and verdicts, as they are shipped in this package.",
        ),
    ] = Format.hf,
    evaluations: Annotated[
        str | None,
        typer.Option(
            "--evaluations",
            help="Folders of freelm eval --out, separated by commas: their figures go into a "
            "release's freelm.json.",
        ),
    ] = None,
) -> None:
    """Write a trained model for others.

    Example: freelm export runs/demo/alternate/model --format hf --out exported
    """
    from freelm.export.release import MAX_BYTES, pack_release
    from freelm.export.stock import write_stock
    from freelm.model.releases import own_folder

    if evaluations and format_ is not Format.release:
        raise typer.BadParameter("--evaluations goes with --format release")
    if format_ is Format.hf:
        write_stock(model, out)
    else:
        folders = [Path(folder) for folder in comma_list(evaluations or "")]
        size = pack_release(own_folder(model), out, folders)
        say(f"{size / 1e6:.1f} MB of at most {MAX_BYTES / 1e6:g} MB")
    print(out)
