"""Measuring tasks: what all suites share.

A training split is never used: figures come from each task's report split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.data.prompts import PROMPTS
from freelm.errors import DataError, FreeLMError, InputError
from freelm.eval.cache import NO_CACHE, ResultCache
from freelm.eval.folder import ITEMS
from freelm.eval.items import JudgedRow, judge_items, labelled_examples, predictions
from freelm.eval.metrics import METRICS, Predictions, constant_answer, majority
from freelm.eval.results import LOWER_IS_BETTER, Result
from freelm.eval.statistics import bootstrap_interval, paired_bootstrap, percentile_interval
from freelm.model.fingerprint import fingerprint
from freelm.tasks import Example, Phrasing, Rows, Task, default_registry, load_rows

Say = Callable[[str], None]
Change = Callable[[Example], Example]

MAX_NAMED_LABELS = 5
"""A note names at most this many labels."""

PROMPT_ROWS = 100
"""Training rows per task on which the best prompt of an untrained base is chosen."""


@dataclass
class Setting:
    """How a model is evaluated.

    Attributes:
        data_root: Where rows and texts are; None asks each task's files and the Hub.
        limit: Maximum number of rows per task (a fixed random sample), None for all.
        out: Folder that caches answers; None disables the cache.
        seeds: Number of seeds for whatever is random (changes of rows, generated samples).
        say: Receives messages.
        skip: Receives a message for each task, text or suite that is not measured, and why.
        progress: Receives (task, rows done, rows in all).
        detail: Receives what a report shows in addition to figures: curves, samples.
        prompts: Task -> the prompt chosen for an untrained base; filled during evaluation.
        corpora: Texts of the suite `language`; None for all that have a test split.
    """

    data_root: Path | None = None
    limit: int | None = None
    out: Path | None = None
    seeds: int = 3
    say: Say = lambda line: None
    skip: Say = lambda line: None
    progress: Callable[[str, int, int], None] = lambda task, done, total: None
    detail: Callable[[dict[str, Any]], None] = lambda facts: None
    prompts: dict[str, str] = field(default_factory=dict)
    corpora: list[str] | None = None

    def counter(self, name: str, total: int) -> Callable[[int], None]:
        """A function that takes numbers of rows as they are done and reports progress."""
        done = 0

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            self.progress(name, done, total)

        return count


def seen_tasks(model: FreeLM, setting: Setting) -> list[Task]:
    """The tasks that a model was trained on, by its own record.

    Tasks that are not shipped are skipped: only the trainer has their files.

    Raises:
        InputError: If the record names no shipped task.
    """
    registry, names = default_registry(), list(model.facts.record.get("tasks", {}))
    for name in names:
        if name not in registry.names():
            setting.skip(f"{name}: skipped: the model was trained on it, but no such task is known")
    known = [registry.get(name) for name in names if name in registry.names()]
    if not known:
        raise InputError(
            "the model's record names no known task that it was trained on; use --tasks without "
            "--suite"
        )
    return known


def evaluate_tasks(
    model: FreeLM, tasks: Sequence[Task], setting: Setting, suite: str | None = None
) -> list[Result]:
    """The figures of some tasks, each in its first training phrasing; failing tasks are skipped."""

    def measure(task: Task) -> list[Result]:
        rows = report_rows(task, setting.data_root)
        return evaluate_rows(model, rows, task.training_phrasings[0], setting, suite)

    return measure_each(tasks, measure, setting)


def measure_each(
    tasks: Sequence[Task], measure: Callable[[Task], list[Result]], setting: Setting
) -> list[Result]:
    """The figures of each task; a task that fails is reported and skipped."""
    results = []
    for task in tasks:
        try:
            results += measure(task)
        except FreeLMError as error:
            setting.skip(f"{task.name}: skipped: {error}")
    return results


def report_rows(task: Task, data_root: Path | None) -> Rows:
    """The rows that figures of a task are reported on.

    Raises:
        DataError: If they are training rows or cannot be loaded.
    """
    if task.report_split.startswith("train"):
        raise DataError(f"task {task.name!r}: report_split is {task.report_split!r}, for training")
    return load_rows(task, task.report_split, data_root)


def evaluate_rows(
    model: FreeLM, rows: Rows, phrasing: Phrasing, setting: Setting, suite: str | None = None
) -> list[Result]:
    """The figures of one split in one phrasing.

    Raises:
        DataError: If the split has no labels or a row is wrong.
    """
    examples, items = judge_rows(model, rows, phrasing, setting)
    return figures(rows, items, len(examples[0].labels), suite)


def judge_rows(
    model: FreeLM,
    rows: Rows,
    phrasing: Phrasing,
    setting: Setting,
    variant: str | None = None,
    change: Change = lambda example: example,
) -> tuple[list[Example], list[JudgedRow]]:
    """Judge one split in one phrasing.

    Args:
        model: The model; an untrained base is asked by its best prompt.
        rows: A split of a task.
        phrasing: One of the task's, or a suite's own.
        setting: How to evaluate.
        variant: Name of the change; it distinguishes the cached answers.
        change: Applied to every example before it is judged; depends on the example alone.

    Returns:
        The examples as they were judged, and their answers.

    Raises:
        DataError: If the split has no labels or a row is wrong.
    """
    name = rows.task.name
    examples = [change(e) for e in labelled_examples(rows, phrasing, setting.limit, setting.say)]
    judges, prompt = model, None
    if not model.facts.markers:
        if name not in setting.prompts:
            setting.prompts[name] = best_prompt(model, rows.task, setting)
        prompt = setting.prompts[name]
        judges = model.with_prompt(prompt)
    cache = _answer_cache(model, rows, phrasing, prompt, setting, variant)
    progress = setting.counter(f"{name} ({variant})" if variant else name, len(examples))
    return examples, judge_items(judges, examples, cache, progress)


def figures(
    rows: Rows,
    items: Sequence[JudgedRow],
    num_labels: int,
    suite: str | None = None,
    variant: str | None = None,
    task: Task | None = None,
    only: str | None = None,
) -> list[Result]:
    """The figures of answered rows, metric by metric, each with its interval and majority.

    Args:
        rows: The rows.
        items: Their answers.
        num_labels: Number of labels of a row.
        suite: Goes into the figures.
        variant: Goes into the figures.
        task: Read the answers as those of this task; None means the rows' own.
        only: Compute this metric alone, as intervals take time.
    """
    task = task or rows.task
    results = []
    for metric, answered in predictions(task, items).items():
        if only is not None and metric != only:
            continue
        interval = bootstrap_interval(answered, metric)
        constant = majority(answered.targets, metric, num_labels=num_labels)
        result = Result(
            task.name, task.family, rows.split, metric, METRICS[metric](answered), len(items),
            *interval, constant, suite, variant,
        )  # fmt: skip
        if metric == task.metrics[0]:
            low, high = gain_interval(answered, metric, num_labels)
            note = classes_note(task, answered)
            result = replace(result, note=note, gain_low=low, gain_high=high)
        results.append(result)
    return results


def gain_interval(answered: Predictions, metric: str, num_labels: int) -> tuple[float, float]:
    """95% interval of how much better answers are than the best that ignores the text.

    Both are resampled with the same items. Treating the constant answer's score as known would call
    a model better too often, most of all where one label is frequent.

    Args:
        answered: The answers.
        metric: Name of a metric.
        num_labels: Number of labels of a row.

    Returns:
        Its ends; above 0 is better, also for metrics where lower is better.
    """
    constant = constant_answer(answered.targets, metric, num_labels=num_labels)
    low, high = percentile_interval(paired_bootstrap(answered, constant, metric))
    return (-high, -low) if metric in LOWER_IS_BETTER else (low, high)


def classes_note(task: Task, answered: Predictions) -> str | None:
    """What an average hides: labels that are never predicted, or rows that share one label."""
    if task.question not in ("predicate", "choice"):
        return None
    names = list(task.label.ids)
    if len(set(answered.targets)) == 1:
        return f"all rows are {names[int(answered.targets[0])]!r}"
    missing = [name for i, name in enumerate(names) if i not in set(answered.predicted)]
    if len(missing) > MAX_NAMED_LABELS:
        return f"never answered: {len(missing)} of {len(names)} labels"
    return f"never answered: {', '.join(missing)}" if missing else None


def joined_notes(*notes: str | None) -> str | None:
    """Several notes as one."""
    return "; ".join(note for note in notes if note) or None


def _answer_cache(
    model: FreeLM,
    rows: Rows,
    phrasing: Phrasing,
    prompt: str | None,
    setting: Setting,
    variant: str | None = None,
) -> ResultCache:
    if setting.out is None:
        return NO_CACHE
    task = rows.task
    key: dict[str, Any] = {"model": fingerprint(model.model), "prompt": prompt, "task": task.name}
    key |= {"version": task.version, "split": rows.split, "phrasing": phrasing.name}
    if variant:
        key["variant"] = variant
    name = ".".join(filter(None, (task.name, rows.split, phrasing.name, variant, prompt)))
    return ResultCache(setting.out / ITEMS / f"{name}.jsonl", key)


def best_prompt(model: FreeLM, task: Task, setting: Setting) -> str:
    """The prompt with which an untrained base answers most training rows rightly.

    Choosing on the reported rows would flatter the base. A task without a training split gets the
    first prompt.
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
        cache = _answer_cache(model, rows, phrasing, name, setting)
        items = judge_items(model.with_prompt(name), examples[:PROMPT_ROWS], cache)
        scores[name] = METRICS[metric](predictions(task, items)[metric])
    best = max(scores, key=scores.__getitem__)
    shown = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    setting.say(f"{task.name}: prompt {best} ({metric} on training rows: {shown})")
    return best
