"""Published figures, compared with ours where task, split and metric are the same."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from freelm.errors import DataError, describe_validation, suggest
from freelm.eval.exposure import TRAINED_ON
from freelm.eval.metrics import METRICS
from freelm.eval.results import Result
from freelm.io.strict_yaml import read_yaml
from freelm.tasks import default_registry

REFERENCES_FILE = Path(__file__).with_name("references.yaml")

CORPORA = ("lambada",)
"""Texts with published figures."""
CORPUS_METRICS = ("last_word_accuracy",)

BY_LIKELIHOOD = "completion_accuracy_norm"
"""Accuracy of the likeliest ending, measured on the same rows as verdicts."""

RIGHT_ANSWERS = ("accuracy", BY_LIKELIHOOD, *CORPUS_METRICS)
"""Metrics that are a share of right answers."""

SAMPLE = "sample"
"""Split of figures that were measured on a benchmark's own choice of items."""

Z = 1.96
"""Standard errors on either side of a 95% interval."""

Verified = Literal["found", "derived", "recalled"]
Kind = Literal["zero-shot", "one-shot", "few-shot", "fine-tuned", "held-out"]


@dataclass(frozen=True, slots=True)
class Reference:
    """One published figure.

    Attributes:
        model: Name of the model.
        parameters: Its size as usually written, None where it is not public.
        task: Our name of the task or corpus.
        split: The split that it was measured on.
        metric: Our name of the metric.
        setting: How the model was used.
        shots: Examples in the prompt, None where unknown or meaningless.
        value: The figure, as a fraction.
        source: Where it is published.
        verified: `found`, `derived` or `recalled`.
        note: Caveats.
        items: Number of items, where it is known not to be the entire split.
    """

    model: str
    parameters: str | None
    task: str
    split: str
    metric: str
    setting: Kind
    shots: int | None
    value: float
    source: str
    verified: Verified
    note: str | None
    items: int | None = None


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid")
    value: float
    metric: str | None = None
    split: str | None = None
    verified: Verified | None = None
    items: int | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    parameters: str | None = None
    setting: Kind
    shots: int | None = None
    split: str
    metric: str = "accuracy"
    verified: Verified
    source: str
    note: str | None = None
    items: int | None = None
    values: dict[str, float | _Value]


def load_references(path: Path = REFERENCES_FILE) -> list[Reference]:
    """Read published figures.

    Raises:
        DataError: If the file is wrong, a task or metric is unknown, a figure is outside 0 to 100,
            or a figure is listed twice; the message names the entry.
    """
    entries = read_yaml(path, DataError)
    if not isinstance(entries, list):
        raise DataError(f"{path}: must be a list of entries with model, setting, split, values")
    references = [
        reference
        for number, facts in enumerate(entries, 1)
        for reference in _read_entry(facts, f"{path}, entry {number}")
    ]
    seen: set[tuple[Any, ...]] = set()
    for r in references:
        key = (r.model, r.task, r.split, r.metric, r.setting, r.source)
        if key in seen:
            raise DataError(
                f"{path}: {r.model}, {r.task}, {r.metric} ({r.setting}) is listed twice"
            )
        seen.add(key)
    return references


def _read_entry(facts: Any, where: str) -> list[Reference]:
    try:
        entry = _Entry.model_validate(facts)
    except ValidationError as error:
        raise DataError(f"{where}: {describe_validation(error)}") from None
    references = []
    tasks = (*default_registry().names(), *CORPORA)
    for task, given in entry.values.items():
        own = given if isinstance(given, _Value) else _Value(value=given)
        metric = own.metric or entry.metric
        what = f"{where} ({entry.model})"
        if task not in tasks:
            raise DataError(f"{what}: unknown task {task!r}; {suggest(task, tasks)}")
        known = CORPUS_METRICS if task in CORPORA else (*METRICS, BY_LIKELIHOOD)
        if metric not in known:
            raise DataError(f"{what}: {task}: unknown metric {metric!r}; {suggest(metric, known)}")
        if not 0 <= own.value <= 100:
            raise DataError(f"{what}: {task}: {own.value} is not a percentage")
        references.append(
            Reference(
                entry.model, entry.parameters, task, own.split or entry.split, metric,
                entry.setting, entry.shots, own.value / 100, entry.source,
                own.verified or entry.verified, entry.note, own.items or entry.items,
            )
        )  # fmt: skip
    return references


def same_measurement(result: Result, references: Iterable[Reference]) -> list[Reference]:
    """The published figures of the same task, split and metric, the best first."""
    return sorted(_published(result, result.split, references), key=lambda r: -r.value)


def decision_models(result: Result, references: Iterable[Reference]) -> list[Reference]:
    """Published figures of decision models for the same task and metric, on other items."""
    return _published(result, SAMPLE, references)


def _published(result: Result, split: str, references: Iterable[Reference]) -> list[Reference]:
    """Figures of a task and metric on a split; recalled ones are not facts and do not count."""
    wanted = (result.task, split, result.metric)
    found = [r for r in references if (r.task, r.split, r.metric) == wanted]
    return [r for r in found if r.verified != "recalled"]


def compare_in_words(result: Result, reference: Reference, seen: str | None) -> str:
    """How a figure of ours compares with a published one, in one sentence.

    Args:
        result: Ours.
        reference: The published one.
        seen: Why our model has seen the task (`exposure.why_seen`), None where it has not.
    """
    name = f"{reference.model} ({reference.setting}, {100 * reference.value:.1f})"
    if result.low is None or result.high is None:
        text = f"no interval of ours to compare with {name}"
    elif found := standing(result, reference):
        text = f"{found} {name}"
    else:
        text = f"no significant difference from {name}"
    return f"{text}; {setting_difference(reference, seen)}"


def standing(result: Result, reference: Reference) -> Literal["above", "below"] | None:
    """Whether a figure of ours is significantly above or below a published one.

    Both are measured on a sample of items; theirs on as many as ours where nothing else is known. A
    share p of n items has the standard error sqrt(p (1 - p) / n); another metric has that of ours,
    scaled to their number of items. None where the difference is within 1.96 standard errors, or
    ours has no interval.
    """
    if result.low is None or result.high is None:
        return None
    ours = (result.high - result.low) / (2 * Z)
    items = reference.items or result.n
    p = reference.value
    if reference.metric in RIGHT_ANSWERS:
        theirs = math.sqrt(p * (1 - p) / items)
    else:
        theirs = ours * math.sqrt(result.n / items)
    if abs(result.value - p) <= Z * math.hypot(ours, theirs):
        return None
    return "above" if result.value > p else "below"


def is_other_setting(setting: str, taught: bool) -> bool:
    """Whether a published figure was reached in another setting than ours.

    Args:
        setting: Of the published figure.
        taught: Whether our model was trained on the task; otherwise it is asked without examples.
    """
    return setting != "fine-tuned" if taught else setting not in ("zero-shot", "held-out")


def setting_difference(reference: Reference, seen: str | None) -> str:
    """How the two settings differ, in words; `seen` as in `compare_in_words`."""
    trained_on = seen == TRAINED_ON
    ours = "ours never saw the task or a similar one"
    if trained_on:
        ours = "ours was taught the task's training split"
    elif seen:
        ours = f"ours was not taught the task itself, but {seen}"
    theirs = {
        "zero-shot": "it was asked without examples",
        "one-shot": "it was shown one example",
        "few-shot": "it was shown examples",
        "fine-tuned": "it was fine-tuned on the task alone",
        "held-out": "it was trained on other tasks",
    }[reference.setting]
    differs = is_other_setting(reference.setting, trained_on)
    return f"{ours}, {theirs}" + (" - another setting" if differs else "")


# -- means over several tasks ----------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Tasks whose accuracies the literature averages.

    Attributes:
        words: What they are called.
        tasks: Their names.
        suites: The suites in which they are measured; None is for tasks requested by name.
        published: The split of their published figures.
    """

    words: str
    tasks: tuple[str, ...]
    suites: tuple[str | None, ...]
    published: str


GROUPS = (
    Group(
        "seven GLUE tasks (CoLA, MNLI, MRPC, QNLI, QQP, RTE, SST-2)",
        ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2"),
        (None, "seen", "unseen"),
        "validation",
    ),
    Group(
        "six decision sets (AG News, XNLI, Emotion, SST-2, BoolQ, Banking77)",
        ("ag_news", "xnli_en", "emotion", "sst2", "boolq", "banking77"),
        ("decisions",),
        SAMPLE,
    ),
)


@dataclass(frozen=True)
class Mean:
    """The mean accuracy of a group.

    Attributes:
        group: Which tasks.
        value: The mean.
        low: Lower end of its 95% interval, from the intervals of the tasks.
        high: Upper end.
        constant: The mean of the best answers that ignore the text.
    """

    group: Group
    value: float
    low: float
    high: float
    constant: float


def means(results: Sequence[Result]) -> list[Mean]:
    """The means of the groups of which every task was measured."""
    found = []
    for group in GROUPS:
        accuracies = {
            r.task: r
            for r in reversed(results)
            if (r.metric, r.variant) == ("accuracy", None)
            and r.task in group.tasks
            and r.suite in group.suites
            and r.low is not None
            and r.high is not None
        }
        if len(accuracies) == len(group.tasks):
            found.append(_mean(group, list(accuracies.values())))
    return found


def _mean(group: Group, accuracies: Sequence[Result]) -> Mean:
    value = float(np.mean([r.value for r in accuracies]))
    errors = [((r.high or 0.0) - (r.low or 0.0)) / (2 * Z) for r in accuracies]
    half = Z * float(np.linalg.norm(errors)) / len(errors)
    constant = float(np.mean([r.majority or 0.0 for r in accuracies]))
    return Mean(group, value, value - half, value + half, constant)


def published_means(group: Group, references: Iterable[Reference]) -> list[tuple[str, str, float]]:
    """(model, setting, mean) of the published models with a figure for every task, best first."""
    figures: dict[tuple[str, str], dict[str, float]] = {}
    for r in references:
        if (r.split, r.metric) == (group.published, "accuracy") and r.verified != "recalled":
            figures.setdefault((r.model, r.setting), {})[r.task] = r.value
    complete = [
        (model, setting, float(np.mean([values[task] for task in group.tasks])))
        for (model, setting), values in figures.items()
        if values.keys() >= set(group.tasks)
    ]
    return sorted(complete, key=lambda found: -found[2])
