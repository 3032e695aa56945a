"""Published figures to put beside ours: same task, same split, same metric, or not at all."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from freelm.errors import DataError, describe_validation, suggest
from freelm.eval.exposure import TRAINED_ON
from freelm.eval.metrics import METRICS
from freelm.eval.results import Result
from freelm.io.strict_yaml import read_yaml
from freelm.tasks import default_registry

REFERENCES_FILE = Path(__file__).with_name("references.yaml")

CORPORA = ("lambada",)
"""Texts that have figures and are no tasks."""
CORPUS_METRICS = ("last_word_accuracy",)

BY_LIKELIHOOD = "completion_accuracy_norm"
"""Accuracy of the likeliest ending: another measurement than that of verdicts, of the same rows."""

RIGHT_ANSWERS = ("accuracy", BY_LIKELIHOOD, *CORPUS_METRICS)
"""Metrics that are a share of right answers."""

SAMPLE = "sample"
"""Split of figures that were measured on a bench's own choice of items."""

Verified = Literal["found", "derived", "recalled"]
Kind = Literal["zero-shot", "one-shot", "few-shot", "fine-tuned", "held-out"]


@dataclass(frozen=True, slots=True)
class Reference:
    """One published figure.

    Attributes:
        model: Name of the model.
        parameters: Its size as it is usually written, None where it is not public.
        task: Our name of the task or corpus.
        split: The split that it was measured on.
        metric: Our name of the metric.
        setting: How the model was used.
        shots: Examples in the prompt, None where that is not known or has no meaning.
        value: The figure, as a fraction.
        source: Where it is published.
        verified: `found`, `derived` or `recalled`.
        note: What must be known to read it rightly.
        items: Items that it was measured on, where it is known not to be the whole split.
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


Z = 1.96
"""Standard errors on either side of a 95% interval."""


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
            or one figure stands twice; the entry is named.
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
            raise DataError(f"{path}: {r.model}, {r.task}, {r.metric} ({r.setting}) stands twice")
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
            raise DataError(f"{what}: {task}: {own.value} is no percentage")
        references.append(
            Reference(
                entry.model, entry.parameters, task, own.split or entry.split, metric,
                entry.setting, entry.shots, own.value / 100, entry.source,
                own.verified or entry.verified, entry.note, own.items or entry.items,
            )
        )  # fmt: skip
    return references


def same_measurement(result: Result, references: Iterable[Reference]) -> list[Reference]:
    """The checked figures of the same task, split and metric, the best first.

    Figures that were only recalled are no facts and are left out.
    """
    fitting = (
        r
        for r in references
        if (r.task, r.split, r.metric) == (result.task, result.split, result.metric)
        and r.verified != "recalled"
    )
    return sorted(fitting, key=lambda r: -r.value)


def decision_models(result: Result, references: Iterable[Reference]) -> list[Reference]:
    """The figures of the decision bench for the same task and metric: other items, never equal."""
    return [
        r
        for r in references
        if (r.task, r.split, r.metric) == (result.task, SAMPLE, result.metric)
        and r.verified != "recalled"
    ]


def compare_in_words(result: Result, reference: Reference, seen: str | None) -> str:
    """How a figure of ours stands to a published one, in one plain sentence.

    Args:
        result: Ours, with its interval.
        reference: The published one.
        seen: Why the task is not unseen by our model (`unseen.why_seen`), None where
            it is.
    """
    return f"{_standing(result, reference)}; {setting_difference(reference, seen)}"


def standing(result: Result, reference: Reference) -> Literal["above", "below"] | None:
    """Whether a figure of ours lies significantly above or below a published one.

    Both are of a sample of items. Where theirs is not known to be of another number of items, it
    is taken to be of as many as ours. A share p of n items has the standard error
    sqrt(p (1 - p) / n); another measure has that of ours, as it would be on n items. None where
    the difference is within 1.96 standard errors, or ours has no interval.
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


def _standing(result: Result, reference: Reference) -> str:
    name = f"{reference.model} ({reference.setting}, {100 * reference.value:.1f})"
    if result.low is None or result.high is None:
        return f"no interval of ours to compare with {name}"
    found = standing(result, reference)
    return f"{found} {name}" if found else f"no significant difference from {name}"


def is_other_setting(setting: str, taught: bool) -> bool:
    """Whether a published figure was reached in another setting than ours.

    Args:
        setting: Of the published figure.
        taught: Whether our model was taught the task's training split; else it is asked without
            examples.
    """
    return setting != "fine-tuned" if taught else setting not in ("zero-shot", "held-out")


def setting_difference(reference: Reference, seen: str | None) -> str:
    """What differs between the two settings, in words; `seen` as of `in_words`."""
    trained_on = seen == TRAINED_ON
    ours = "ours never saw the task or its like"
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
