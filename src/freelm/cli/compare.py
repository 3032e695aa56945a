"""`freelm compare`: train and measure arms under one budget."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.options import Data, Json, comma_list, data_console, print_json, say

if TYPE_CHECKING:
    from freelm.compare.study import Study
    from freelm.eval.sections import Table
    from freelm.report.page import Page

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change a value; may be repeated."),
]


def compare(
    config: Annotated[Path, typer.Argument(help="The comparison's YAML file.", show_default=False)],
    families: Annotated[
        str | None,
        typer.Argument(help="With --leave-out-families: only these, separated by commas."),
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out-families",
            help="Instead of the arms: train once without each family of tasks (or each named "
            "family) and measure the model on what it was not taught.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; runs/compare/NAME by default.")
    ] = None,
    override: Overrides = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Train and measure several arms under one budget; the same command resumes.

    The folder gets arms.html, arms.md and arms.jsonl, or families.html, families.md and
    families.jsonl. If an arm fails, the table says why, the other arms continue, and the exit code
    is 1.

    Example: freelm compare configs/compare/miniworld.yaml
    """
    if families is not None and not leave_out:
        raise typer.BadParameter("families are named after --leave-out-families")
    study = open_study(config, override, out, data)
    try:
        failed = _families(study, families, as_json) if leave_out else _arms(study, as_json)
    except KeyboardInterrupt:
        say(f"finished results are in {study.out}; the same command resumes from there")
        raise
    exit_if_failed(failed)


def open_study(
    config: Path, override: list[str] | None, out: Path | None, data: Path | None
) -> "Study":
    """The study of a comparison's file."""
    from freelm.compare.config import base_run, load_compare
    from freelm.compare.study import Study
    from freelm.data.roots import resolve_data_root

    settings = load_compare(config, override)
    base = base_run(settings, config.parent)
    folder = out or Path("runs") / "compare" / settings.name
    return Study(settings, base, folder, resolve_data_root(data or base.data), say)


def _arms(study: "Study", as_json: bool) -> list[str]:
    """Compare arms; returns those that failed."""
    from freelm.compare.outcomes import arm_lines, compare_arms
    from freelm.compare.page import arms_page, arms_table

    results = compare_arms(study)
    lines = arm_lines(results, study.config.budget.words)
    page = arms_page(study, results, command_line())
    _report(study, "arms", lines, page, arms_table(results), as_json)
    return [result.arm.name for result in results if result.failures]


def _families(study: "Study", named: str | None, as_json: bool) -> list[str]:
    """Leave families out; returns those that failed."""
    from freelm.compare.families import family_lines, leave_out_families, select_families
    from freelm.compare.page import families_page, families_table

    results = leave_out_families(study, select_families(study, comma_list(named or "")))
    lines = family_lines(results, study.config.budget.words)
    page = families_page(study, results, command_line())
    _report(study, "families", lines, page, families_table(results), as_json)
    return [result.family for result in results if result.failures]


def command_line() -> str:
    """The running command, to be repeated."""
    return shlex.join(["freelm", *sys.argv[1:]])


def exit_if_failed(failed: Sequence[str]) -> None:
    """End with exit code 1 if something failed."""
    if failed:
        say(f"failed: {', '.join(failed)}; the same command tries again")
        raise typer.Exit(1)


def _report(
    study: "Study",
    name: str,
    lines: Sequence[Mapping[str, Any]],
    page: "Page",
    table: "Table",
    as_json: bool,
) -> None:
    """Write and print results."""
    from freelm.compare.outcomes import as_jsonl
    from freelm.report.page import write_files, write_page

    write_page(page, study.out, name)
    write_files({f"{name}.jsonl": as_jsonl(lines)}, study.out)
    say(f"written: {study.out / name}.html, .md and .jsonl")
    if as_json:
        print_json(lines)
    else:
        print_table(table, f"{study.config.name}; {study.config.budget.words}")


def print_table(table: "Table", title: str) -> None:
    """Print a table of results to standard output."""
    from rich.table import Table as RichTable

    shown = RichTable(title=title, title_justify="left")
    for number, column in enumerate(table.head):
        shown.add_column(column, justify="left" if number == 0 else "right")
    for row in table.rows:
        shown.add_row(*row)
    data_console().print(shown)
