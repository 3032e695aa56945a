"""`freelm eval`: measure a model."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.options import (
    Data,
    Device,
    Dtype,
    Json,
    Threads,
    comma_list,
    data_console,
    load,
    say,
    was_taught_label_words,
)
from freelm.eval import suites
from freelm.io.memory import peak_memory_gb

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.eval.comparison import Comparison
    from freelm.eval.folder import EvaluationFolder
    from freelm.eval.measure import Setting
    from freelm.eval.results import Result
    from freelm.tasks import Task

PROGRESS_EVERY = 30.0
"""Seconds between two progress lines of a long task."""

SuiteName = StrEnum("SuiteName", [*suites.names(), "all"])  # type: ignore[misc]


class Harness(StrEnum):
    """Another program that can measure."""

    lm_eval = "lm-eval"


SuiteOption = Annotated[
    SuiteName | None,
    typer.Option(
        "--suite",
        help=" ".join(f"{name}: {suites.help_of(name)}." for name in suites.names())
        + " all: every suite.",
    ),
]
Tasks = Annotated[
    str | None, typer.Option("--tasks", help="Tasks or task files, separated by commas.")
]
Corpora = Annotated[
    str | None,
    typer.Option(
        "--corpora",
        help="Texts of --suite language, separated by commas; else all with a test split.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Maximum number of rows per task, windows per corpus and prompts; the suite robust "
        "takes 200 rows without it.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder of this model for answers, results and report. With it, evaluation resumes, "
        "and the results of several runs accumulate.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete the evaluation that --out holds and start over.")
]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="Seeds of random changes and of generated text.")
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="Evaluation folders (--out) of other models, separated by commas: paired tests.",
    ),
]
AverageWith = Annotated[
    str | None,
    typer.Option(
        "--average-with",
        help="Evaluation folders of the same model trained with other seeds: mean and spread.",
    ),
]
HarnessOption = Annotated[
    Harness | None,
    typer.Option(
        "--harness",
        help="Let lm-evaluation-harness measure --tasks: its own, or ours as freelm_<task>.",
    ),
]


@dataclass
class _Run:
    """One call of the command."""

    name: str
    suite: str | None
    tasks: list[str]
    against: list[str]
    average_with: list[str]
    with_harness: bool
    setting: "Setting"
    details: list[dict[str, Any]] = field(default_factory=list)

    @property
    def measured(self) -> str:
        """Names what this call measures, for what it skips."""
        return self.suite or ("lm-eval" if self.with_harness else "tasks")

    def own_tasks(self) -> "list[Task]":
        """The requested tasks; the harness has its own."""
        from freelm.tasks import default_registry

        return [] if self.with_harness else default_registry().get_all(self.tasks)


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder or base.", show_default=False)],
    suite: SuiteOption = None,
    tasks: Tasks = None,
    corpora: Corpora = None,
    data: Data = None,
    limit: Limit = None,
    out: Out = None,
    overwrite: Overwrite = False,
    seeds: Seeds = 3,
    against: Against = None,
    average_with: AverageWith = None,
    harness: HarnessOption = None,
    device: Device = None,
    dtype: Dtype = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks and texts; a training split is never used.

    An untrained base is judged by the prompt that does best on training rows of each task. With
    --out, the folder gets results.jsonl, report.html and report.md.

    Example: freelm eval runs/smollm2-135m-cpu/model --suite all --data DIR --limit 1000
    """
    from freelm.data.roots import resolve_data_root
    from freelm.eval.measure import Setting

    _check_options(suite, tasks, corpora, harness, against, out)
    setting = Setting(resolve_data_root(data), limit, out, seeds)
    setting.corpora = comma_list(corpora) if corpora else None
    names = comma_list(tasks or "")
    folders = comma_list(against or ""), comma_list(average_with or "")
    run = _Run(model, suite.value if suite else None, names, *folders, harness is not None, setting)
    others = _read_other_seeds(run)
    loaded = _load(run, device, dtype)
    with _reporting(run), _folder(loaded, out, overwrite) as folder:
        results = _average(_measure(loaded, run), others, setting)
        comparisons = _compare(loaded, run, folder)
        if folder is not None:
            _write(loaded, results, run, folder, comparisons)
    say(f"peak memory {peak_memory_gb():.2f} GB")
    _print(run, results, comparisons, as_json)


def _check_options(
    suite: SuiteName | None,
    tasks: str | None,
    corpora: str | None,
    harness: Harness | None,
    against: str | None,
    out: Path | None,
) -> None:
    if suite is None and tasks is None:
        raise typer.BadParameter("give --suite or --tasks")
    if corpora is not None and suite not in ("language", "all"):
        raise typer.BadParameter("--corpora goes with --suite language or all")
    if harness is not None and (tasks is None or suite is not None):
        raise typer.BadParameter("--harness takes --tasks and no --suite")
    if against and out is None:
        raise typer.BadParameter("--against needs --out: paired tests read the cached answers")


def _read_other_seeds(run: _Run) -> "list[list[Result]]":
    """The figures of --average-with; faults of other folders are found before the work starts."""
    from freelm.eval.comparison import check_answers
    from freelm.eval.results import check_counts, read_results

    others = [read_results(Path(folder)) for folder in run.average_with]
    check_counts(others)
    for folder in run.against:
        check_answers(Path(folder))
    return others


def _load(run: _Run, device: str | None, dtype: str) -> "FreeLM":
    from freelm.errors import InputError
    from freelm.model.fingerprint import fingerprint
    from freelm.report.provenance import check_other_models

    loaded = load(run.name, device=device, dtype=dtype)
    if run.suite != "language" and was_taught_label_words(loaded):
        raise InputError(
            f"{run.name} was trained to write the words of labels; its verdicts were never taught. "
            "`freelm compare` measures such models, and here --suite language"
        )
    if run.average_with:
        check_other_models([Path(f) for f in run.average_with], fingerprint(loaded.model))
    return loaded


@contextmanager
def _reporting(run: _Run) -> Iterator[None]:
    """Print messages and progress, and collect what the report shows in addition to results."""

    def skip(line: str) -> None:
        from freelm.report.provenance import without_root

        say(line)
        text = without_root(line, run.setting.data_root)
        run.details.append({"kind": "skipped", "suite": run.measured, "text": text})

    run.setting.say, run.setting.skip = say, skip
    run.setting.progress, run.setting.detail = _Progress(), run.details.append
    try:
        yield
    except KeyboardInterrupt:
        if run.setting.out is not None:
            say(f"answers so far are in {run.setting.out}; the same command resumes from there")
        raise


@contextmanager
def _folder(
    model: "FreeLM", out: Path | None, overwrite: bool
) -> "Iterator[EvaluationFolder | None]":
    from freelm.eval.folder import open_folder
    from freelm.model.fingerprint import fingerprint

    if out is None:
        yield None
        return
    with open_folder(out, fingerprint(model.model), overwrite) as folder:
        yield folder


def _measure(model: "FreeLM", run: _Run) -> "list[Result]":
    from freelm.errors import DataError
    from freelm.eval.suite import run_suite

    if not run.with_harness:
        return run_suite(model, run.suite, run.own_tasks() if run.tasks else None, run.setting)
    try:
        from freelm.eval.harness.model import evaluate_with_harness
    except ImportError as error:
        raise DataError(
            f"--harness lm-eval needs `pip install freelm[eval]` ({error.name} is missing)"
        ) from None
    results = evaluate_with_harness(model, run.tasks, run.setting)
    if not results:
        raise DataError("nothing could be measured")
    return results


def _average(
    results: "list[Result]", others: "list[list[Result]]", setting: "Setting"
) -> "list[Result]":
    from freelm.eval.results import average

    return average([results, *others], setting.skip)


def _compare(
    model: "FreeLM", run: _Run, folder: "EvaluationFolder | None"
) -> "dict[str, list[Comparison]]":
    """Paired tests with each other folder of this run and of earlier ones."""
    from freelm.errors import FreeLMError
    from freelm.eval.comparison import compare_folders
    from freelm.model.fingerprint import fingerprint

    if folder is None:
        return {}
    earlier = [name for name in folder.facts().get("against", []) if Path(name).is_dir()]
    tasks = {task.name: task for task in run.own_tasks()}
    compared: dict[str, list[Comparison]] = {}
    for other in dict.fromkeys([*earlier, *run.against]):
        try:
            compared[other] = compare_folders(
                folder.path, Path(other), tasks, fingerprint(model.model), say
            )
        except FreeLMError as error:
            run.setting.skip(f"not compared: {error}")
    return compared


def _write(
    model: "FreeLM",
    results: "list[Result]",
    run: _Run,
    folder: "EvaluationFolder",
    comparisons: "dict[str, list[Comparison]]",
) -> None:
    from freelm.report.evaluation import Evaluation, write_report
    from freelm.report.provenance import (
        learning_curve,
        provenance,
        training_config,
        write_provenance,
    )

    earlier = folder.facts()
    if earlier and earlier.get("averaged_with", []) != run.average_with:
        say(f"{folder.path}: earlier figures are dropped: they are not means over the same models")
        folder.drop_results()
    facts = provenance(model, run.setting, sys.argv[1:], run.average_with)
    commands = [*earlier.get("earlier_commands", []), earlier.get("command")]
    facts["earlier_commands"] = [
        c for c in dict.fromkeys(commands) if c not in (None, facts["command"])
    ]
    facts["against"] = list(comparisons)
    details = folder.add_details(run.details, run.measured)
    write_provenance(facts, folder.path)
    report = Evaluation(
        folder.add_results(results),
        facts,
        details=details,
        comparisons=comparisons,
        learning=learning_curve(model.model.name),
        config=training_config(model.model.name),
        left_out=[str(detail["text"]) for detail in details if detail["kind"] == "skipped"],
    )
    write_report(report, folder.path)
    say(f"written: {folder.path / 'report.html'}")


def _print(
    run: _Run,
    results: "list[Result]",
    comparisons: "dict[str, list[Comparison]]",
    as_json: bool,
) -> None:
    from freelm.eval.results import spread_in_words, terminal_table

    if as_json:
        for result in results:
            print(result.as_json())
        for comparison in (c for listed in comparisons.values() for c in listed):
            print(comparison.as_json())
        return
    models = 1 + len(run.average_with)
    title = f"{run.name}, {spread_in_words(models)}" if models > 1 else run.name
    data_console().print(terminal_table(results, title))
    seed = " (this seed alone)" if models > 1 else ""
    for other, listed in comparisons.items():
        for comparison in listed:
            print(f"against {other}{seed}: {comparison.sentence}")


class _Progress:
    """Prints a line when a task is finished, and now and then one before."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def __call__(self, task: str, done: int, total: int) -> None:
        if done == total:
            say(f"{task}: {total} done")
        elif time.monotonic() - self._printed >= PROGRESS_EVERY:
            say(f"{task}: {done:,} of {total:,}")
        else:
            return
        self._printed = time.monotonic()
