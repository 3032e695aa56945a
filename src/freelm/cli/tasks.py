"""`freelm tasks`: list, show, preview and check task definitions."""

from pathlib import Path
from typing import Annotated

import typer

from freelm.cli.options import Data, Json, print_json, say

app = typer.Typer(
    help="List, show, preview and check task definitions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="Shipped task or YAML file.", show_default=False)]


@app.command("list")
def list_tasks(data: Data = None, as_json: Json = False) -> None:
    """List the shipped tasks.

    Example: freelm tasks list --json
    """
    from freelm.data.roots import resolve_data_root
    from freelm.tasks import default_registry
    from freelm.tasks.sources import available_splits

    root, registry = resolve_data_root(data), default_registry()
    rows = [
        {
            "name": task.name,
            "family": task.family,
            "question": task.question,
            "splits": available_splits(task, root),
        }
        for task in map(registry.get, registry.names())
    ]
    if as_json:
        print_json(rows)
        return
    print(f"{'task':24} {'family':20} {'question':10} splits")
    for row in rows:
        splits = " ".join(row["splits"])
        print(f"{row['name']:24} {row['family']:20} {row['question']:10} {splits}")


@app.command("show")
def show(name: Name) -> None:
    """Print a task's definition.

    Example: freelm tasks show rte
    """
    from freelm.tasks import default_registry

    path = default_registry().get(name).path
    assert path is not None
    print(path.read_text(encoding="utf-8-sig"), end="")


@app.command("preview")
def preview(
    name: Name,
    n: Annotated[int, typer.Option("--n", min=1, help="Rows shown.")] = 3,
    form: Annotated[
        str | None, typer.Option("--form", help="Show this form alone.", show_default=False)
    ] = None,
    data: Data = None,
) -> None:
    """Print the propositions of some rows in every form, each with its truth.

    Example: freelm tasks preview miniworld_entailment --data miniworld --n 1
    """
    from freelm.data.roots import resolve_data_root
    from freelm.tasks import default_registry, load_rows
    from freelm.tasks.forms import FORMS, wordings
    from freelm.tasks.sources import available_splits

    if form is not None and form not in FORMS:
        raise typer.BadParameter(f"{form!r} is not one of {', '.join(FORMS)}", param_hint="--form")
    task, root = default_registry().get(name), resolve_data_root(data)
    splits = available_splits(task, root)
    split = "train" if "train" in splits else (splits or ["train"])[0]
    rows = load_rows(task, split, root)
    shown = [f for f in FORMS if form in (None, f)]
    for number in range(min(n, len(rows))):
        for drawn in filter(None, (wordings(task, f) for f in shown)):
            wording = drawn[number % len(drawn)]
            named = f"{wording.form}, {wording.phrasing.name}" if wording.phrasing else wording.form
            example = rows.form(number, wording)
            print(f"{example.id} ({named})")
            truths = example.truths or [None] * len(example.claims)
            for proposition, truth in zip(example.propositions(), truths, strict=True):
                print(f"  {'?' if truth is None else f'{truth:g}':>4}  {proposition.text}")


@app.command("check")
def check(
    file: Name,
    data: Data = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows of each split tried.")] = 1000,
) -> None:
    """Check a definition and, where its data can be had, its columns and labels.

    Example: freelm tasks check my_task.yaml
    """
    from freelm.data.roots import resolve_data_root
    from freelm.tasks import default_registry
    from freelm.tasks.checking import check_data

    task = default_registry().get(file)
    say(f"{task.name}: the definition is sound")
    problems = check_data(task, resolve_data_root(data), rows, say)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)


@app.command("export")
def export(
    names: Annotated[list[str], typer.Argument(help="Shipped tasks or YAML files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    data: Data = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Rows at most.")] = None,
) -> None:
    """Write tasks, rows included, in the form of lm-evaluation-harness.

    Each becomes freelm_<task>.yaml and freelm_<task>.jsonl.

    Example: freelm tasks export miniworld_topic --data miniworld --out harness-tasks
    """
    from freelm.data.roots import resolve_data_root
    from freelm.eval.harness.tasks import export_task
    from freelm.tasks import default_registry

    root = resolve_data_root(data)
    for task in default_registry().get_all(names):
        print(export_task(task, out, root, limit))
