"""`freelm compare`: several ways to train one model under one budget, side by side."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.options import Data, Json, comma_list, data_console, print_json, say

if TYPE_CHECKING:
    from freelm.compare.study import Study
    from freelm.report.page import Grid


def compare(
    config: Annotated[Path, typer.Argument(help="The comparison's YAML file.", show_default=False)],
    families: Annotated[
        str | None,
        typer.Argument(
            help="With --leave-out-families: these alone, separated by commas.", show_default=False
        ),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out-families",
            help="Instead of the arms: train once without each family of tasks, or without each "
            "of those named after it, and measure it on what it was not taught.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; runs/compare/NAME without it.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value; may be repeated."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Train and measure several arms under one budget; the same command goes on where it stopped.

    The folder gets arms.html, arms.md and arms.jsonl, or families.html, families.md and
    families.jsonl. An arm that fails is told of in the table; the others are done, and the command
    ends with 1.

    Example: freelm compare configs/compare/miniworld.yaml
    """
    from freelm.compare.config import base_run, load_compare
    from freelm.compare.study import Study
    from freelm.data.roots import resolve_data_root

    if families is not None and not leave_out:
        raise typer.BadParameter("families are named after --leave-out-families")
    settings = load_compare(config, override)
    base = base_run(settings, config.parent)
    folder = out or Path("runs") / "compare" / settings.name
    study = Study(settings, base, folder, resolve_data_root(data or base.data), say)
    try:
        failed = _families(study, families, as_json) if leave_out else _arms(study, as_json)
    except KeyboardInterrupt:
        say(f"what was done is kept in {folder}; the same command goes on from there")
        raise
    if failed:
        say(f"not done: {', '.join(failed)}; the same command tries these again")
        raise typer.Exit(1)


def _arms(study: "Study", as_json: bool) -> list[str]:
    """Compare arms; returns those that failed."""
    from freelm.compare.outcomes import arm_lines, compare_arms
    from freelm.compare.page import arms_grid, arms_page

    results = compare_arms(study)
    lines = arm_lines(results, study.config.budget.words)
    _write(study, "arms", lines, arms_page(study, results, _command()))
    _print(lines, arms_grid(results), study, as_json)
    return [result.arm.name for result in results if result.failures]


def _families(study: "Study", named: str | None, as_json: bool) -> list[str]:
    """Leave families out; returns those that failed."""
    from freelm.compare.families import families_of, family_lines, leave_out_families
    from freelm.compare.page import families_grid, families_page

    results = leave_out_families(study, families_of(study, comma_list(named or "")))
    lines = family_lines(results, study.config.budget.words)
    _write(study, "families", lines, families_page(study, results, _command()))
    _print(lines, families_grid(results), study, as_json)
    return [result.family for result in results if result.failures]


def _command() -> str:
    return " ".join(["freelm", *sys.argv[1:]])


def _write(study: "Study", name: str, lines: list[dict[str, Any]], page: Any) -> None:
    from freelm.compare.outcomes import write_lines
    from freelm.report.page import write_page

    write_page(page, study.out, name)
    write_lines(lines, study.out / f"{name}.jsonl")
    say(f"written: {study.out / name}.html, .md and .jsonl")


def _print(lines: list[dict[str, Any]], grid: "Grid", study: "Study", as_json: bool) -> None:
    if as_json:
        print_json(lines)
        return
    from rich.table import Table

    title = f"{study.config.name}; {study.config.budget.words}"
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(grid.head):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in grid.rows:
        table.add_row(*row)
    data_console().print(table)
