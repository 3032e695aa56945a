"""`freelm eval`: measure a model."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.options import (
    Data,
    Dtype,
    Json,
    comma_list,
    data_console,
    load,
    say,
    was_taught_label_words,
)
from freelm.io.memory import peak_memory_gb

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.eval.measure import Setting
    from freelm.eval.paired import Comparison
    from freelm.eval.results import Result
    from freelm.tasks import Task


EVERY = 30.0
"""Seconds between two lines on a task that takes long."""


class Suite(StrEnum):
    """What is measured."""

    seen = "seen"
    unseen = "unseen"
    robust = "robust"
    calibration = "calibration"
    decisions = "decisions"
    language = "language"
    all = "all"


class Harness(StrEnum):
    """Another program that can measure."""

    lm_eval = "lm-eval"


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder or base.", show_default=False)],
    suite: Annotated[
        Suite | None,
        typer.Option(
            "--suite",
            help="seen: the tasks trained on; unseen: families never trained on; robust: changed "
            "rows and phrasings; calibration: are probabilities honest; decisions: typed questions "
            "of decision models; language: perplexity and writing.",
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Tasks or task files, separated by commas.")
    ] = None,
    corpora: Annotated[
        str | None,
        typer.Option(
            "--corpora",
            help="Texts of --suite language, separated by commas; else all with a test split.",
        ),
    ] = None,
    data: Data = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Rows per task, windows per corpus and prompts at most; robust takes 200 rows "
            "where nothing is said.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for answers, results and report; with it, evaluation resumes."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Seeds of random changes and of writing.")
    ] = 3,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Evaluation folders (--out) of other models, separated by commas: paired tests.",
        ),
    ] = None,
    average_with: Annotated[
        str | None,
        typer.Option(
            "--average-with",
            help="Evaluation folders of the same model trained with other seeds: mean and spread.",
        ),
    ] = None,
    harness: Annotated[
        Harness | None,
        typer.Option(
            "--harness",
            help="Let lm-evaluation-harness measure --tasks: its own, or ours as freelm_<task>.",
        ),
    ] = None,
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on tasks and texts; a training split is never used.

    An untrained base is judged by the prompt that does best on training rows of each task. With
    --out, the folder gets results.jsonl, results.md, report.html and report.md.

    Example: freelm eval runs/smollm2-135m-cpu/model --suite all --data DIR --limit 1000
    """
    from freelm.data.roots import resolve_data_root
    from freelm.errors import InputError
    from freelm.eval.measure import Setting
    from freelm.eval.paired import check_answers
    from freelm.eval.results import (
        average,
        check_counts,
        read_results,
        spread_in_words,
        terminal_table,
    )
    from freelm.model.identity import fingerprint
    from freelm.report.provenance import check_other_models

    if suite is None and tasks is None:
        raise typer.BadParameter("give --suite or --tasks")
    if corpora is not None and suite not in (Suite.language, Suite.all):
        raise typer.BadParameter("--corpora goes with --suite language or all")
    if harness is not None and (tasks is None or suite is not None):
        raise typer.BadParameter("--harness takes --tasks and no --suite")
    if against and out is None:
        raise typer.BadParameter("--against needs --out: paired tests read the kept answers")
    # What is wrong with other folders is found before the work, not after it.
    seeds_of_others = comma_list(average_with or "")
    others = [read_results(Path(folder)) for folder in seeds_of_others]
    check_counts(others)
    for folder in comma_list(against or ""):
        check_answers(Path(folder))
    loaded = load(model, dtype=dtype)
    if suite is not Suite.language and was_taught_label_words(loaded):
        raise InputError(
            f"{model} was trained to write the words of labels; its verdicts were never taught. "
            "`freelm compare` measures such models, and here --suite language"
        )
    if others:
        check_other_models([Path(folder) for folder in seeds_of_others], fingerprint(loaded.model))
    heard = _Heard()
    setting = Setting(
        resolve_data_root(data),
        limit,
        out,
        seeds,
        say,
        heard.skip,
        _Progress(),
        heard.details.append,
        corpora=comma_list(corpora) if corpora else None,
    )
    try:
        results = _measure(loaded, suite, comma_list(tasks or ""), setting, harness)
    except KeyboardInterrupt:
        if out is not None:
            say(f"what was measured is kept in {out}; the same command goes on from there")
        raise
    results = average([results, *others], heard.skip)
    comparisons = _compare(loaded, comma_list(against or ""), setting, _own_tasks(tasks, harness))
    if out is not None:
        _write(loaded, results, setting, heard, comparisons, seeds_of_others)
    say(f"peak memory {peak_memory_gb():.2f} GB")
    if as_json:
        for result in results:
            print(result.as_json())
        for comparison in (c for listed in comparisons.values() for c in listed):
            print(comparison.as_json())
        return
    title = f"{model}, {spread_in_words(1 + len(others))}" if others else model
    data_console().print(terminal_table(results, title))
    seed = " (this seed alone)" if others else ""
    for other, listed in comparisons.items():
        for comparison in listed:
            print(f"against {other}{seed}: {comparison.sentence}")


def _measure(
    model: "FreeLM",
    suite: Suite | None,
    names: list[str],
    setting: "Setting",
    harness: Harness | None,
) -> "list[Result]":
    from freelm.errors import DataError
    from freelm.eval.suite import run_suite
    from freelm.tasks import default_registry

    if harness is None:
        tasks = default_registry().get_all(names) if names else None
        return run_suite(model, suite.value if suite else None, tasks, setting)
    try:
        from freelm.eval.harness.model import evaluate_with_harness
    except ImportError as error:
        raise DataError(
            f"--harness lm-eval needs `pip install freelm[eval]` ({error.name} is missing)"
        ) from None
    results = evaluate_with_harness(model, names, setting)
    if not results:
        raise DataError("nothing could be measured")
    return results


def _own_tasks(names: str | None, harness: Harness | None) -> "dict[str, Task]":
    """The tasks that were asked for, by name: those that are not shipped are found here."""
    from freelm.tasks import default_registry

    if harness is not None:
        return {}
    return {task.name: task for task in default_registry().get_all(comma_list(names or ""))}


def _compare(
    model: "FreeLM", folders: list[str], setting: "Setting", tasks: "dict[str, Task]"
) -> "dict[str, list[Comparison]]":
    """Paired tests; a folder that shares no rows is told of, the figures are there all the same."""
    from freelm.errors import FreeLMError
    from freelm.eval.paired import compare_folders
    from freelm.model.identity import fingerprint

    compared: dict[str, list[Comparison]] = {}
    for folder in folders:
        assert setting.out is not None  # refused at the start
        try:
            compared[folder] = compare_folders(
                setting.out, Path(folder), tasks, fingerprint(model.model), setting.say
            )
        except FreeLMError as error:
            setting.say(f"not compared: {error}")
    return compared


def _write(
    model: "FreeLM",
    results: "list[Result]",
    setting: "Setting",
    heard: "_Heard",
    comparisons: "dict[str, list[Comparison]]",
    averaged_with: list[str],
) -> None:
    from freelm.eval.results import spread_in_words, write_results
    from freelm.report.evaluation import Evaluation, write_report
    from freelm.report.provenance import (
        learning_curve,
        provenance,
        training_config,
        without_root,
        write_provenance,
    )

    name, out = model.model.name, setting.out
    assert out is not None
    facts = f"Model `{name}`, rows per task: {setting.limit or 'all'}."
    if averaged_with:
        facts += f" Values: {spread_in_words(1 + len(averaged_with))}."
    write_results(results, out, f"Evaluation of {name}", facts)
    made_with = provenance(model, setting, sys.argv[1:], averaged_with)
    write_provenance(made_with, out)
    write_report(
        Evaluation(
            results,
            made_with,
            details=heard.details,
            comparisons=comparisons,
            learning=learning_curve(name),
            config=training_config(name),
            left_out=[without_root(line, setting.data_root) for line in heard.left_out],
        ),
        out,
    )
    say(f"written: {out / 'report.html'}, {out / 'results.md'}")


class _Heard:
    """What suites report besides figures."""

    def __init__(self) -> None:
        self.details: list[dict[str, Any]] = []
        self.left_out: list[str] = []

    def skip(self, line: str) -> None:
        """Print what is not measured and keep the line for the report."""
        say(line)
        self.left_out.append(line)


class _Progress:
    """A line per task as it is finished, and now and then one before."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, task: str, done: int, total: int) -> None:
        if done == total:
            say(f"{task}: {total} done")
        elif time.monotonic() - self._said >= EVERY:
            say(f"{task}: {done:,} of {total:,}")
        else:
            return
        self._said = time.monotonic()
