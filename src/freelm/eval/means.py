"""Means over the tasks that the literature takes together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from freelm.eval.references import SAMPLE, Reference, Z
from freelm.eval.results import Result


@dataclass(frozen=True)
class Group:
    """Tasks whose accuracies are averaged.

    Attributes:
        words: What they are called.
        tasks: Their names.
        suites: The suites in which they are measured; None is for tasks asked for by name.
        published: The split that published figures of them stand on.
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
        low: Lower end of its 95% interval, by the intervals of the tasks.
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
        accuracies = [
            result
            for task in group.tasks
            for result in _accuracies(results, task, group)[:1]
            if result.low is not None and result.high is not None
        ]
        if len(accuracies) == len(group.tasks):
            found.append(_mean(group, accuracies))
    return found


def _accuracies(results: Sequence[Result], task: str, group: Group) -> list[Result]:
    return [
        result
        for result in results
        if (result.task, result.metric, result.variant) == (task, "accuracy", None)
        and result.suite in group.suites
    ]


def _mean(group: Group, accuracies: Sequence[Result]) -> Mean:
    value = float(np.mean([r.value for r in accuracies]))
    errors = [((r.high or 0.0) - (r.low or 0.0)) / (2 * Z) for r in accuracies]
    half = Z * float(np.linalg.norm(errors)) / len(errors)
    constant = float(np.mean([r.majority or 0.0 for r in accuracies]))
    return Mean(group, value, value - half, value + half, constant)


def published_means(group: Group, references: Iterable[Reference]) -> list[tuple[str, str, float]]:
    """(model, setting, mean) of the published models that have a figure of every task of a group.

    The best first; figures that were only recalled do not count.
    """
    figures: dict[tuple[str, str], dict[str, float]] = {}
    for r in references:
        if (r.split, r.metric) == (group.published, "accuracy") and r.verified != "recalled":
            figures.setdefault((r.model, r.setting), {})[r.task] = r.value
    whole = [
        (model, setting, float(np.mean([values[task] for task in group.tasks])))
        for (model, setting), values in figures.items()
        if values.keys() >= set(group.tasks)
    ]
    return sorted(whole, key=lambda found: -found[2])
