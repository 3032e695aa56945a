"""Suites: which tasks and texts a model is measured on, and how.

A training split is never used: figures come from each task's report split.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freelm.data.prompts import PROMPTS
from freelm.errors import DataError, InputError
from freelm.eval.items import judge_items, labelled_examples, predictions
from freelm.eval.metrics import METRICS, bootstrap_interval, majority
from freelm.eval.results import Result
from freelm.inference.predictor import FreeLM
from freelm.model.saving import FACTS_FILE
from freelm.tasks import Phrasing, Rows, Task, default_registry, load_rows

Say = Callable[[str], None]

PROMPT_ROWS = 100
"""Training rows a task on which the best prompt of an untrained base is chosen."""


@dataclass(frozen=True)
class Setting:
    """How a model is evaluated.

    Attributes:
        data_root: Where rows and texts are; None asks each task's files and the Hub.
        limit: Rows per task at most (the first ones), None for all.
        out: Folder for answers and results; None keeps nothing.
        say: Told of tasks that could not be done.
        progress: Told (task, rows done, rows in all).
    """

    data_root: Path | None = None
    limit: int | None = None
    out: Path | None = None
    say: Say = lambda line: None
    progress: Callable[[str, int, int], None] = lambda task, done, total: None


def seen_tasks(model: FreeLM) -> list[Task]:
    """The tasks that a model was trained on, by its own record.

    Raises:
        InputError: If the record names none.
    """
    names = list(model.facts.record.get("tasks", {}))
    if not names:
        raise InputError("the model's record names no tasks it was trained on; use --tasks")
    return default_registry().get_all(names)


def evaluate_tasks(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """The figures of some tasks, each in its first training phrasing.

    A task that cannot be done is told of and left out; the others are done.
    """
    results = []
    for task in tasks:
        try:
            rows = report_rows(task, setting.data_root)
            results += evaluate_rows(model, rows, task.training_phrasings[0], setting)
        except (DataError, InputError) as error:
            setting.say(f"{task.name}: left out: {error}")
    return results


def report_rows(task: Task, data_root: Path | None) -> Rows:
    """The rows that figures of a task are reported on.

    Raises:
        DataError: If that split is a training split or cannot be loaded.
    """
    if task.report_split.startswith("train"):
        raise DataError(f"task {task.name!r}: report_split is {task.report_split!r}, for training")
    return load_rows(task, task.report_split, data_root)


def evaluate_rows(model: FreeLM, rows: Rows, phrasing: Phrasing, setting: Setting) -> list[Result]:
    """The figures of one split in one phrasing.

    Raises:
        DataError: If the split has no labels or a row is wrong.
    """
    task = rows.task
    examples = labelled_examples(rows, phrasing, setting.limit, setting.say)
    judges, prompt = model, None
    if not model.facts.markers:
        prompt = best_prompt(model, task, setting)
        judges = model.with_prompt(prompt)
    cache, key = _kept_answers(model, rows, phrasing, prompt, setting)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        setting.progress(task.name, done, len(examples))

    items = judge_items(judges, examples, cache, key, progress)
    num_labels = len(examples[0].labels)
    results = []
    for metric, answered in predictions(task, items).items():
        low, high = bootstrap_interval(answered, metric)
        constant = majority(answered.targets, metric, num_labels=num_labels)
        results.append(
            Result(
                task.name,
                task.family,
                rows.split,
                metric,
                METRICS[metric](answered),
                len(items),
                low,
                high,
                constant,
            )
        )
    return results


def _kept_answers(
    model: FreeLM, rows: Rows, phrasing: Phrasing, prompt: str | None, setting: Setting
) -> tuple[Path | None, dict[str, Any]]:
    """The file that keeps answers to a split, and what they depend on."""
    task = rows.task
    key = {"model": fingerprint(model), "prompt": prompt, "task": task.name}
    key |= {"version": task.version, "split": rows.split, "phrasing": phrasing.name}
    if setting.out is None:
        return None, key
    name = ".".join(filter(None, (task.name, rows.split, phrasing.name, prompt)))
    return setting.out / "items" / f"{name}.jsonl", key


def best_prompt(model: FreeLM, task: Task, setting: Setting) -> str:
    """The prompt by which an untrained base answers most training rows rightly.

    Training rows, because a prompt that is chosen on the rows it is reported on flatters the base.
    A task without a training split gets the first prompt.
    """
    try:
        rows = load_rows(task, "train", setting.data_root)
    except DataError:
        return next(iter(PROMPTS))
    phrasing = task.training_phrasings[0]
    spread = range(0, len(rows), max(1, len(rows) // PROMPT_ROWS))
    examples = [e for e in rows.examples(phrasing, spread) if e.target is not None]
    metric = task.metrics[0]
    scores = {}
    for name in PROMPTS:
        kept = _kept_answers(model, rows, phrasing, name, setting)
        items = judge_items(model.with_prompt(name), examples[:PROMPT_ROWS], *kept)
        scores[name] = METRICS[metric](predictions(task, items)[metric])
    best = max(scores, key=scores.__getitem__)
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    setting.say(f"{task.name}: prompt {best} ({metric} on training rows: {shown})")
    return best


def fingerprint(model: FreeLM) -> str:
    """A short name of a model's weights: what its folder says, and when it was written."""
    facts: list[Any] = [model.facts.base, model.facts.base_checksum, model.facts.temperature]
    folder = Path(model.model.name)
    if (folder / FACTS_FILE).is_file():
        facts.append((folder / FACTS_FILE).read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*.*")):
        facts.append([path.name, path.stat().st_size, path.stat().st_mtime_ns])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
