"""`freelm card`: the model card of a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import Data, comma_list


def card(
    model: Annotated[str, typer.Argument(help="Model folder or release.", show_default=False)],
    evaluations: Annotated[
        str,
        typer.Option(
            "--evaluations",
            help="Folders of freelm eval --out, separated by commas.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The Markdown file to write.")],
    data: Data = None,
) -> None:
    """Write a model's card: results, weaknesses, data and licences, from what is on record.

    Example: freelm card freelm-135m --evaluations runs/glue,runs/language --data DIR --out CARD.md
    """
    from freelm.data.roots import resolve_data_root
    from freelm.errors import DataError
    from freelm.eval.references import load_references
    from freelm.model.releases import VERDICTS_FILE, own_folder
    from freelm.model.saving import read_facts
    from freelm.report.card import model_card, read_verdicts, stated_origins
    from freelm.report.page import as_markdown

    folder = own_folder(model)
    root = resolve_data_root(data)
    if root is None:
        raise DataError("the sources of the data are in a data root's manifest: give --data")
    page = model_card(
        Path(model).name,
        read_facts(folder),
        [Path(name) for name in comma_list(evaluations)],
        read_verdicts(folder / VERDICTS_FILE),
        stated_origins(root),
        load_references(),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(as_markdown(page), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror})") from None
    print(out)
