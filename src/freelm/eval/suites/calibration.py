"""The calibration suite: does a probability of 0.8 mean right eight times in ten?

A model's margins are divided by its temperature, and where claims compete as options once more by
what follows from that of choices and their number; its figures before temperature scaling are
those without either. Confidence is the probability of the answered label.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from freelm.api import FreeLM
from freelm.errors import DataError
from freelm.eval.items import Item, predictions
from freelm.eval.measure import Setting, each_task, judge_rows, report_rows
from freelm.eval.metrics import (
    METRICS,
    NUM_ECE_BINS,
    Metric,
    Predictions,
    bootstrap_interval,
    majority,
)
from freelm.eval.results import Result
from freelm.tasks import Task

SUITE = "calibration"
BEFORE, AFTER = "before temperature", "after temperature"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability table.

    Attributes:
        low: Confidences of the bin are above this.
        high: And at most this.
        count: Items in it.
        confidence: Their mean confidence, 0 where there is none.
        accuracy: The share of them that is right, 0 where there is none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def evaluate_calibration(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """Brier score, ECE and area under the risk-coverage curve, before and after temperature.

    Score tasks have no label to be sure of and are told of. A task that cannot be done is left
    out; the others are done. Curves go to `setting.detail`.
    """
    temperature = model.facts.temperature

    def measure(task: Task) -> list[Result]:
        if task.question == "score":
            raise DataError("a score question has no probability of one right label")
        rows = report_rows(task, setting.data_root)
        examples, items = judge_rows(model, rows, task.training_phrasings[0], setting)
        results = []
        for variant, shown in ((BEFORE, unscaled(items, temperature)), (AFTER, items)):
            answered = predictions(task, shown)["ece"]
            results += _figures(task, rows.split, answered, variant, len(examples[0].labels))
            setting.detail(_curves(task.name, variant, answered))
        return results

    return [result for found in each_task(tasks, measure, setting.say) for result in found]


def unscaled(items: Sequence[Item], temperature: float) -> list[Item]:
    """The same answers without temperature scaling.

    Args:
        items: Answers.
        temperature: That their margins were divided by.
    """
    return [
        replace(item, margins=[temperature * m for m in item.margins], choice_temperature=1.0)
        for item in items
    ]


def confidences(answered: Predictions) -> tuple[FloatArray, FloatArray]:
    """Confidence (N,) of each answer and whether it is right (N,), as 0 or 1."""
    sure, right = METRICS["ece"].columns(answered)
    return np.asarray(sure, dtype=float), np.asarray(right, dtype=float)


def reliability_table(sure: FloatArray, right: FloatArray, bins: int = NUM_ECE_BINS) -> list[Bin]:
    """Accuracy against confidence in equally wide bins (a, b].

    The mean of |accuracy - confidence| over the bins, weighted by their items, is the ECE.

    Args:
        sure: Confidences, shape (N,).
        right: 1 where the answer is right, else 0, shape (N,).
        bins: How many.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(sure, edges[1:-1], right=True)
    table = []
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        mean = (float(sure[inside].mean()), float(right[inside].mean())) if count else (0.0, 0.0)
        table.append(Bin(float(edges[number]), float(edges[number + 1]), count, *mean))
    return table


def risk_coverage(sure: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The risk-coverage curve of answering only when sure (El-Yaniv and Wiener 2010).

    Args:
        sure: Confidences, shape (N,).
        right: 1 where the answer is right, else 0, shape (N,).

    Returns:
        Coverage (N,): the share of items answered, the surest first; risk (N,): the share of these
        that is wrong. Items of equal confidence are answered together: each of them gets the risk
        after all of them, so their order in the data does not matter.
    """
    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(1.0 - right[order])
    answered = np.arange(1, len(sure) + 1)
    last = np.searchsorted(-sure[order], -sure[order], side="right") - 1
    return answered / len(sure), wrong[last] / answered[last]


def area_under_risk_coverage(sure: FloatArray, right: FloatArray) -> float:
    """Mean risk over all coverages (AURC): 0 when nothing is wrong, the error rate by chance."""
    return float(risk_coverage(sure, right)[1].mean())


AURC = Metric(lambda p: confidences(p), area_under_risk_coverage)


def _figures(
    task: Task, split: str, answered: Predictions, variant: str, num_labels: int
) -> list[Result]:
    results = []
    for name, metric in (("brier", METRICS["brier"]), ("ece", METRICS["ece"]), ("aurc", AURC)):
        low, high = bootstrap_interval(answered, metric)
        constant = None
        if name != "aurc":  # a constant answer is equally sure of every item
            constant = majority(answered.targets, name, num_labels=num_labels)
        results.append(
            Result(
                task.name, task.family, split, name, metric(answered), len(answered.targets),
                low, high, constant, SUITE, variant,
            )
        )  # fmt: skip
    return results


def _curves(task: str, variant: str, answered: Predictions) -> dict[str, object]:
    sure, right = confidences(answered)
    coverage, risk = risk_coverage(sure, right)
    kept = np.unique(np.linspace(0, len(risk) - 1, 101).round().astype(int))
    return {
        "kind": "calibration",
        "task": task,
        "variant": variant,
        "reliability": [asdict(b) for b in reliability_table(sure, right)],
        "coverage": coverage[kept].tolist(),
        "risk": risk[kept].tolist(),
    }
