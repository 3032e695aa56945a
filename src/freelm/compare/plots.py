"""The plots of a comparison, as SVG."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from freelm.compare.families import FamilyResult
from freelm.compare.intervals import Figure
from freelm.compare.outcomes import ArmResult
from freelm.report.plots import CONSTANT, OURS, svg

UNSEEN = "tab:orange"
APART = 0.18
"""Distance between the figures of one line of a plot, in lines."""


def by_arm(results: Sequence[ArmResult], name: str, constant: float | None) -> str:
    """Score of each arm with its interval, on seen and on unseen tasks.

    Args:
        results: The arms.
        name: What a score is.
        constant: That of the best answer without the text, on the seen tasks.
    """
    height = 1.4 + 0.4 * len(results)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    if constant is not None:
        axis.axvline(100 * constant, color="0.6", lw=1, ls="--", label="best answer without text")
    for place, result in enumerate(results):
        _mark(axis, result.seen, place - APART, OURS)
        _mark(axis, result.unseen, place + APART, UNSEEN)
    axis.plot([], [], "o-", color=OURS, label="seen tasks, 95% interval")
    if any(result.unseen for result in results):
        axis.plot([], [], "o-", color=UNSEEN, label="tasks of unseen families")
    axis.set_yticks(range(len(results)), [result.arm.name for result in results], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"mean {name} (x 100)")
    figure.legend(fontsize=8, loc="outside upper center", ncols=3)
    return svg(figure)


def _mark(axis: Any, found: Figure | None, place: float, colour: str) -> None:
    if found is not None:
        axis.plot(100 * found.value, place, "o", color=colour)
        axis.hlines(place, 100 * found.low, 100 * found.high, color=colour, lw=2)


def against_perplexity(results: Sequence[ArmResult], name: str) -> str:
    """Score on the seen tasks against perplexity, one point an arm."""
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    for result in results:
        if result.seen is None or result.perplexity is None:
            continue
        x, y = result.perplexity, result.seen
        axis.errorbar(
            x.value,
            100 * y.value,
            xerr=[[max(0.0, x.value - x.low)], [max(0.0, x.high - x.value)]],
            yerr=[[max(0.0, 100 * (y.value - y.low))], [max(0.0, 100 * (y.high - y.value))]],
            fmt="o",
            ms=5,
            lw=1,
            label=result.arm.name,
        )
        axis.annotate(
            result.arm.name,
            (x.value, 100 * y.value),
            (5, 4),
            textcoords="offset points",
            fontsize=7,
        )
    axis.set_xscale("log")
    axis.set_xlabel("perplexity (lower is better; logarithmic)")
    axis.set_ylabel(f"mean {name} on seen tasks (x 100)")
    return svg(figure)


def by_family(results: Sequence[FamilyResult], name: str) -> str:
    """Score on each family: left out, taught, by a model without tasks, and without the text."""
    height = 1.4 + 0.5 * len(results)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    for place, result in enumerate(results):
        if result.majority is not None:
            axis.barh(place, 100 * result.majority, height=0.8, color=CONSTANT, zorder=1)
        _mark(axis, result.everything, place - APART, OURS)
        _mark(axis, result.unseen, place, UNSEEN)
        _mark(axis, result.baseline, place + APART, "0.3")
    axis.bar(0, 0, color=CONSTANT, label="best answer without text")
    for colour, label in ((OURS, "taught"), (UNSEEN, "left out"), ("0.3", "no task taught")):
        axis.plot([], [], "o-", color=colour, label=label)
    axis.set_yticks(range(len(results)), [result.family for result in results], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"mean {name} (x 100)")
    figure.legend(fontsize=8, loc="outside upper center", ncols=4)
    return svg(figure)
