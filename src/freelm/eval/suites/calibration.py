"""Whether probabilities are honest: does 0.8 mean right eight times in ten?

Figures are given before and after temperature scaling. Confidence is the probability of the
answered label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from freelm.api import FreeLM
from freelm.errors import DataError
from freelm.eval.items import JudgedRow, predictions
from freelm.eval.measure import Setting, judge_rows, measure_each, report_rows, seen_tasks
from freelm.eval.metrics import (
    METRICS,
    FloatArray,
    Metric,
    Predictions,
    confidences,
    majority,
)
from freelm.eval.results import Result
from freelm.eval.sections import (
    MAX_CURVES,
    Block,
    Curve,
    Findings,
    LinePlot,
    Panel,
    Paragraph,
    count_tasks,
    result_table,
)
from freelm.eval.statistics import bootstrap_interval
from freelm.eval.suite import Suite, Tasks
from freelm.model.calibration import NUM_ECE_BINS
from freelm.tasks import Task

NAME = "calibration"
SURE = 0.9
"""Confidence from which the accuracy of sure answers is measured."""
MAX_ERROR = 0.05
"""Share of wrong answers up to which coverage is measured."""
BEFORE, AFTER = "before temperature", "after temperature"


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability table.

    Attributes:
        low: Confidences in the bin are above this.
        high: Confidences in the bin are at most this.
        count: Number of items.
        confidence: Their mean confidence, 0 in an empty bin.
        accuracy: Share of them that is right, 0 in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def evaluate_calibration(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """Brier score, ECE and risk-coverage figures, before and after temperature scaling.

    Score tasks have no single right label and are skipped, as are tasks that fail. Curves go to
    `setting.detail`.
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

    return measure_each(tasks or seen_tasks(model, setting), measure, setting)


def unscaled(items: Sequence[JudgedRow], temperature: float) -> list[JudgedRow]:
    """The same answers without temperature scaling.

    Args:
        items: Answers.
        temperature: What their margins were divided by.
    """
    return [
        replace(item, margins=[temperature * m for m in item.margins], choice_temperature=1.0)
        for item in items
    ]


def reliability_table(sure: FloatArray, right: FloatArray, bins: int = NUM_ECE_BINS) -> list[Bin]:
    """Accuracy against confidence in equally wide bins (a, b].

    The mean of |accuracy - confidence| over the bins, weighted by their items, is the ECE.

    Args:
        sure: Confidences, shape (N,).
        right: 1 where the answer is right, else 0, shape (N,).
        bins: Number of bins.
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
        Coverage, shape (N,): the share of items answered, the surest first. Risk, shape (N,): the
        share of these that is wrong. Items of equal confidence are answered together, so the order
        of the data does not matter.
    """
    order = np.argsort(-sure, kind="stable")
    wrong = np.cumsum(1.0 - right[order])
    answered = np.arange(1, len(sure) + 1)
    last = np.searchsorted(-sure[order], -sure[order], side="right") - 1
    return answered / len(sure), wrong[last] / answered[last]


def area_under_risk_coverage(sure: FloatArray, right: FloatArray) -> float:
    """Mean risk over all coverages (AURC): 0 when nothing is wrong, the error rate by chance."""
    return float(risk_coverage(sure, right)[1].mean())


def coverage_at_error(sure: FloatArray, right: FloatArray, error: float = MAX_ERROR) -> float:
    """The largest share of items that can be answered, the surest first, with few errors.

    Args:
        sure: Confidences, shape (N,).
        right: 1 where the answer is right, else 0, shape (N,).
        error: Maximum share of the answered items that is wrong.
    """
    coverage, risk = risk_coverage(sure, right)
    return float(max(coverage[risk <= error], default=0.0))


AURC = Metric(confidences, area_under_risk_coverage)
COVERAGE = Metric(confidences, coverage_at_error)


def _figures(
    task: Task, split: str, answered: Predictions, variant: str, num_labels: int
) -> list[Result]:
    def figure(name: str, value: float, n: int, low: float, high: float) -> Result:
        constant = None
        if name in METRICS:  # a constant answer is equally sure of every item
            constant = majority(answered.targets, name, num_labels=num_labels)
        return Result(
            task.name, task.family, split, name, value, n, low, high, constant, NAME, variant
        )

    metrics = {"brier": METRICS["brier"], "ece": METRICS["ece"], "aurc": AURC}
    metrics["coverage_at_5%_error"] = COVERAGE
    results = [
        figure(name, metric(answered), len(answered.targets), *bootstrap_interval(answered, metric))
        for name, metric in metrics.items()
    ]
    sure, right = confidences(answered)
    if count := int((sure >= SURE).sum()):
        value = float(right[sure >= SURE].mean())
        results.append(figure("accuracy_at_0.9", value, count, *_wilson(value, count)))
    return results


def _wilson(share: float, n: int) -> tuple[float, float]:
    """The 95% Wilson interval of a share of n items."""
    from scipy.stats import binomtest

    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _curves(task: str, variant: str, answered: Predictions) -> dict[str, object]:
    sure, right = confidences(answered)
    coverage, risk = risk_coverage(sure, right)
    shown = np.unique(np.linspace(0, len(risk) - 1, 101).round().astype(int))
    return {
        "kind": "calibration",
        "task": task,
        "variant": variant,
        "reliability": [asdict(b) for b in reliability_table(sure, right)],
        "coverage": coverage[shown].tolist(),
        "risk": risk[shown].tolist(),
    }


def _section(findings: Findings) -> list[Block]:
    results = findings.of(NAME)
    temperature = findings.facts.get("temperature", 1.0)
    choices = findings.facts.get("choice_temperature", {})
    blocks: list[Block] = [
        findings.paragraph(
            f"Fitted after training: temperature {temperature:.3f}, and where claims compete as "
            f"options another one on top, {choices.get('two', 1.0):.3f} for two of them and nearer "
            f'to {choices.get("many", 1.0):.3f} the more there are; "before" is without both. '
            "Temperature changes how sure an answer is, never which answer it is. aurc: mean error "
            "rate when only the surest questions are answered; coverage_at_5%_error: the largest "
            "share of questions, the surest first, of which at most 5% are wrong; accuracy_at_0.9: "
            "accuracy of the n answers with a confidence of at least 0.9."
        )
    ]
    curves = [d for d in findings.details if d.get("kind") == NAME]
    blocks += _plots(curves) if curves else []
    columns = ("task", "metric", "temperature", "value", "95% interval", "constant answer", "n")
    return [*blocks, result_table(results, columns)]


def _plots(details: Sequence[Mapping[str, Any]]) -> list[Block]:
    after = [d for d in details if d["variant"] == AFTER]
    blocks: list[Block] = []
    if len(after) > MAX_CURVES:
        blocks.append(Paragraph(f"The plots show the first {MAX_CURVES} of {len(after)} tasks."))
    panels = []
    for variant in (BEFORE, AFTER):
        curves: dict[str, Curve] = {}
        for detail in [d for d in details if d["variant"] == variant][:MAX_CURVES]:
            bins = [b for b in detail["reliability"] if b["count"]]
            curves[detail["task"]] = (
                [b["confidence"] for b in bins],
                [b["accuracy"] for b in bins],
            )
        panels.append(Panel(variant, "confidence", "accuracy", curves, unit_square=True))
    risks = {d["task"]: (d["coverage"], d["risk"]) for d in after[:MAX_CURVES]}
    axes = ("share of questions answered, most confident first", "share of these that is wrong")
    return [
        *blocks,
        LinePlot("reliability", "Reliability diagram", panels),
        LinePlot("risk-coverage", "Risk-coverage curves", [Panel("", *axes, risks)]),
    ]


def _summary(findings: Findings) -> list[str]:
    errors = [r for r in findings.of(NAME) if r.metric == "ece"]
    before, after = ([r for r in errors if r.variant == which] for which in (BEFORE, AFTER))
    if not after:
        return []
    worst = max(after, key=lambda r: r.value)
    means = [np.mean([r.value for r in found]) for found in (after, before)]
    return [
        f"Calibration: expected calibration error {means[0]:.3f} on average over "
        f"{count_tasks(len(after))} ({means[1]:.3f} before temperature scaling), at worst "
        f"{worst.value:.3f} ({worst.task})."
    ]


SUITE = Suite(
    name=NAME,
    title="Calibration",
    measure=evaluate_calibration,
    section=_section,
    summary=_summary,
    order=50,
)
