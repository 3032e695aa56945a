"""The plots of a report, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from freelm.eval.references import Reference
from freelm.eval.results import Result
from freelm.train.tracker import smoothed

matplotlib.rcParams["svg.hashsalt"] = "freelm"  # equal figures, equal ids

OURS, CONSTANT, PUBLISHED = "tab:blue", "0.75", "tab:red"
MOST_CURVES = 12
"""Tasks whose curves are drawn; the tables have all."""


def svg(figure: Figure) -> str:
    """A figure as SVG that can stand inside HTML; the figure is closed."""
    file = io.StringIO()
    # Without a date, equal figures are equal files.
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def by_task(results: Sequence[Result], references: Mapping[str, Sequence[Reference]]) -> str:
    """A figure per task with its interval, its majority baseline and published figures.

    Args:
        results: One figure a task, shares from 0 to 1.
        references: Task -> published figures.
    """
    height = 1.2 + 0.34 * len(results)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    for place, result in enumerate(results):
        value = 100 * result.value
        if result.majority is not None:
            axis.barh(place, 100 * result.majority, height=0.75, color=CONSTANT, zorder=1)
        axis.plot(value, place, "o", color=OURS, zorder=3)
        if result.low is not None and result.high is not None:
            axis.hlines(place, 100 * result.low, 100 * result.high, color=OURS, lw=2, zorder=3)
        for reference in references.get(result.task, ()):
            axis.plot(100 * reference.value, place, "|", ms=11, mew=1.5, color=PUBLISHED, zorder=2)
    axis.plot([], [], "o-", color=OURS, label="this model, 95% interval")
    axis.bar(0, 0, color=CONSTANT, label="best answer without the text")
    if any(references.values()):
        axis.plot([], [], "|", ms=11, mew=1.5, color=PUBLISHED, label="published figures")
    names = [f"{result.task} ({result.metric})" for result in results]
    axis.set_yticks(range(len(results)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(min(0.0, *(100 * (r.low or 0.0) for r in results)), 100)
    axis.set_xlabel("percent")
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.7 / height), ncols=3)
    return svg(figure)


def reliability(curves: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against confidence, all tasks in one diagram, before and after temperature.

    Args:
        curves: Details of kind `calibration`.
    """
    variants = list(dict.fromkeys(curve["variant"] for curve in curves))
    size = (4.5 * len(variants), 4.2)
    figure, axes = plt.subplots(1, len(variants), figsize=size, layout="constrained", squeeze=False)
    for axis, variant in zip(axes[0], variants, strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
        for curve in [c for c in curves if c["variant"] == variant][:MOST_CURVES]:
            bins = [b for b in curve["reliability"] if b["count"]]
            axis.plot(
                [b["confidence"] for b in bins],
                [b["accuracy"] for b in bins],
                "o-",
                ms=3,
                lw=1,
                label=curve["task"],
            )
        axis.set_title(variant)
        axis.set_xlabel("confidence")
        axis.set_ylabel("share that is right")
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.02, 1.02)
    axes[0][0].legend(fontsize=7)
    return svg(figure)


def risk_coverage(curves: Sequence[Mapping[str, Any]]) -> str:
    """Error rate against the share of questions that is answered, the surest first.

    Args:
        curves: Details of kind `calibration`, of one variant.
    """
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for curve in curves[:MOST_CURVES]:
        axis.plot(curve["coverage"], curve["risk"], lw=1.2, label=curve["task"])
    axis.set_xlabel("share of questions answered, the surest first")
    axis.set_ylabel("share of these that is wrong")
    axis.set_xlim(0, 1)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    return svg(figure)


def learning(records: Sequence[Mapping[str, float]]) -> str:
    """The loss of each signal over the tokens of training.

    Args:
        records: Lines of a run's metrics.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, signal in zip(axes, ("language", "teacher"), strict=True):
        tokens, losses, seen = [], [], 0.0
        for record in records:
            seen += record.get("tokens", 0)
            if f"{signal}_loss" in record:
                tokens.append(seen / 1e6)
                losses.append(record[f"{signal}_loss"])
        if losses:
            axis.plot(tokens, losses, lw=0.5, color="0.7")
            axis.plot(tokens, smoothed(losses), color=OURS)
        axis.set_title(f"{signal} signal")
        axis.set_xlabel("million tokens")
        axis.set_ylabel("loss (nats)")
    return svg(figure)


def changes(results: Sequence[Result]) -> str:
    """How each change of the rows moves a task's first metric.

    Args:
        results: Figures of the robust suite, shares from 0 to 1, `original` among the variants.
    """
    original = {r.task: r.value for r in results if r.variant == "original"}
    variants = list(dict.fromkeys(str(r.variant) for r in results if r.variant != "original"))
    height = 1.0 + 0.28 * len(variants)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    for task in original:
        moved = {
            str(r.variant): 100 * (r.value - original[task]) for r in results if r.task == task
        }
        places = [i for i, variant in enumerate(variants) if variant in moved]
        axis.plot([moved[variants[i]] for i in places], places, "o", ms=5, alpha=0.8, label=task)
    axis.axvline(0, color="0.6", lw=1)
    axis.set_yticks(range(len(variants)), variants, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("points against the unchanged rows")
    if len(original) <= MOST_CURVES:
        axis.legend(fontsize=7)
    return svg(figure)
