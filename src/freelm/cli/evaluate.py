"""`freelm eval`: measure a model."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freelm.cli.options import Data, Json, comma_list, data_console, load, say

if TYPE_CHECKING:
    from freelm.eval.results import Result
    from freelm.eval.suites import Setting
    from freelm.inference.predictor import FreeLM


class Suite(StrEnum):
    """What is measured."""

    seen = "seen"
    language = "language"
    all = "all"


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder or base.", show_default=False)],
    suite: Annotated[
        Suite | None,
        typer.Option("--suite", help="seen: the tasks trained on; language: perplexity."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Tasks or task files, separated by commas.")
    ] = None,
    data: Data = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Rows per task, or windows per corpus, at most."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for answers and results; with it, evaluation resumes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks and texts; a training split is never used.

    An untrained base is judged by the prompt that does best on training rows of each task.

    Example: freelm eval runs/smollm2-135m-cpu/model --suite all --data DIR --limit 1000
    """
    from freelm.data.roots import resolve_data_root
    from freelm.errors import DataError
    from freelm.eval.results import terminal_table, write_results
    from freelm.eval.suites import Setting

    if suite is None and tasks is None:
        raise typer.BadParameter("give --suite or --tasks")
    loaded = load(model)
    setting = Setting(resolve_data_root(data), limit, out, say, _Progress())
    results = _measure(loaded, suite, comma_list(tasks or ""), setting)
    if not results:
        raise DataError("nothing could be measured")
    if out is not None:
        facts = f"Model `{model}`, rows per task: {limit or 'all'}."
        write_results(results, out, f"Evaluation of {model}", facts)
        say(f"written: {out / 'results.md'}")
    if as_json:
        for result in results:
            print(result.as_json())
    else:
        data_console().print(terminal_table(results, model))


def _measure(
    model: "FreeLM", suite: Suite | None, names: list[str], setting: "Setting"
) -> "list[Result]":
    from freelm.eval.language import evaluate_language
    from freelm.eval.suites import evaluate_tasks, seen_tasks
    from freelm.tasks import default_registry

    results = []
    if names:
        results += evaluate_tasks(model, default_registry().get_all(names), setting)
    elif suite in (Suite.seen, Suite.all):
        results += evaluate_tasks(model, seen_tasks(model), setting)
    if suite in (Suite.language, Suite.all):
        results += evaluate_language(model, None, setting)
    return results


class _Progress:
    """A line per task as it is finished."""

    def __call__(self, task: str, done: int, total: int) -> None:
        if done == total:
            say(f"{task}: {total} done")
