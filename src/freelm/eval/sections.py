"""What an evaluation tells a reader, as plain data that `freelm.report` renders.

A section is a list of blocks: paragraphs, lists, tables, plots. A plot holds the numbers to draw
and nothing about how they are drawn. Below the blocks are the tables and sentences that several
suites share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from freelm.eval.exposure import why_seen_by_name
from freelm.eval.references import Reference, compare_in_words, same_measurement
from freelm.eval.results import (
    PERCENT,
    Result,
    interval,
    shown,
    spread_in_words,
    value_with_spread,
)

AVERAGED_WITH = "averaged_with"
"""Fact of an evaluation whose figures are means over several models: the other folders."""

OURS, OTHER, PUBLISHED = "tab:blue", "tab:orange", "tab:red"
"""Colors of plots."""

MAX_CURVES = 12
"""Tasks whose curves are drawn; the tables list all of them."""

MAX_NAMED = 5
"""Tasks that a sentence names."""

# -- blocks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        head: Column names.
        rows: Cells, one sequence per row.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Verbatim:
    """Text that keeps its line breaks: a sample, a command, a configuration."""

    text: str


@dataclass(frozen=True)
class Point:
    """A value in a row of a `DotPlot`, with its interval if it has one."""

    row: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one color.

    Attributes:
        label: For the legend.
        points: The points.
        color: A matplotlib color; None takes the next one of the cycle.
        marker: A matplotlib marker.
    """

    label: str
    points: Sequence[Point]
    color: str | None = None
    marker: str = "o"


@dataclass(frozen=True)
class DotPlot:
    """Values with intervals in labelled rows.

    Attributes:
        name: Stem of the plot's file.
        caption: What it shows; also the text alternative.
        rows: Row labels, from top to bottom.
        series: The points.
        x_label: Label of the x axis.
        baselines: Per row a baseline, drawn as a gray bar.
        line: x of a vertical line, None for no line.
        line_label: Label of that line in the legend.
        dodge: Draw the series of a row above each other.
    """

    name: str
    caption: str
    rows: Sequence[str]
    series: Sequence[Series]
    x_label: str
    baselines: Sequence[float | None] = ()
    line: float | None = None
    line_label: str | None = None
    dodge: bool = False


Curve = tuple[Sequence[float], Sequence[float]]
"""x and y values, equally many."""


@dataclass(frozen=True)
class Panel:
    """One diagram of a `LinePlot`.

    Attributes:
        title: Shown above it.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        curves: Label -> curve.
        unit_square: Show both axes from 0 to 1 and the line y = x.
        smooth: Draw the values in a light color and their moving average on top.
    """

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, Curve]
    unit_square: bool = False
    smooth: bool = False


@dataclass(frozen=True)
class LinePlot:
    """Curves in panels side by side; `name` and `caption` as in `DotPlot`."""

    name: str
    caption: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class ScatterPlot:
    """Labelled points with intervals in both directions; the x axis is logarithmic.

    Attributes:
        name: Stem of the plot's file.
        caption: What it shows; also the text alternative.
        points: Label -> x and y.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
    """

    name: str
    caption: str
    points: Mapping[str, tuple[Point, Point]]
    x_label: str
    y_label: str


PlotData = DotPlot | LinePlot | ScatterPlot
Block = Paragraph | Bullets | Table | Verbatim | PlotData

# -- what was found --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Findings:
    """What sections and summaries are written from.

    Attributes:
        results: All figures of an evaluation.
        facts: Model, data, code and command (`freelm.report.provenance`); `record` says what the
            model was trained on.
        details: Curves and samples, each a mapping with its `kind`.
        references: Published figures.
    """

    results: Sequence[Result]
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: Sequence[Mapping[str, Any]] = ()
    references: Sequence[Reference] = ()

    def of(self, suite: str | None) -> list[Result]:
        """The results of one suite; None means tasks that were requested by name."""
        return [result for result in self.results if result.suite == suite]

    def why_seen(self, task: str) -> str | None:
        """Why the model has seen a task in training, None when it has not."""
        return why_seen_by_name(task, self.facts.get("record", {}))

    @property
    def num_models(self) -> int:
        """How many trained models the figures are means over."""
        return 1 + len(self.facts.get(AVERAGED_WITH, ()))

    def paragraph(self, text: str) -> Paragraph:
        """Text above a table, with the meaning of ± where the figures are means."""
        if self.num_models > 1:
            text += f" Values: {spread_in_words(self.num_models)}."
        return Paragraph(text)


def first_metrics(results: Sequence[Result], suite: str | None) -> list[Result]:
    """The first figure of each task of a suite, which is of the task's own first metric."""
    first: dict[str, Result] = {}
    for result in results:
        if result.suite == suite and result.metric != "latency_ms":
            first.setdefault(result.task, result)
    return list(first.values())


def beats_constant(result: Result) -> bool:
    """Whether a figure is significantly better than the best answer that ignores the text."""
    return result.gain_low is not None and result.gain_low > 0


def _gain(result: Result) -> float:
    """How far a share lies above the best constant answer; 0 for other figures."""
    if result.majority is None or result.metric not in PERCENT:
        return 0.0
    return result.value - result.majority


# -- tables ----------------------------------------------------------------------------------------

Cell = Callable[[Result], str]

CELLS: Mapping[str, Cell] = {
    "task": lambda r: r.task,
    "text": lambda r: r.task,
    "family": lambda r: r.family,
    "split": lambda r: r.split,
    "metric": lambda r: r.metric,
    "rows": lambda r: r.variant or "",
    "of": lambda r: r.variant or "",
    "temperature": lambda r: r.variant or "",
    "value": value_with_spread,
    "95% interval": interval,
    "without the text": lambda r: shown(r, r.majority),
    "constant answer": lambda r: shown(r, r.majority),
    "n": lambda r: f"{r.n:,}",
}
"""Column name -> the cell of a figure."""

TASK_COLUMNS = (
    "task",
    "family",
    "split",
    "metric",
    "value",
    "95% interval",
    "without the text",
    "n",
)


def result_table(results: Sequence[Result], columns: Sequence[str], note: str = "note") -> Table:
    """A row per figure; notes get a last column where there are any.

    Args:
        results: The figures.
        columns: Keys of `CELLS`.
        note: Name of the column of notes.
    """
    rows = [tuple(CELLS[name](result) for name in columns) for result in results]
    if not any(result.note for result in results):
        return Table(columns, rows)
    return Table(
        (*columns, note), [(*row, r.note or "") for row, r in zip(rows, results, strict=True)]
    )


def published_tables(results: Sequence[Result], findings: Findings) -> list[Block]:
    """Published figures of the same task, split and metric; nothing where there are none."""
    rows = [
        (
            r.task,
            r.metric,
            f"{value_with_spread(r)} ({interval(r)})",
            reference.model,
            reference.parameters or "",
            reference.setting,
            shown(r, reference.value),
            compare_in_words(r, reference, findings.why_seen(r.task)),
            "; ".join(filter(None, (reference.source, reference.note))),
        )
        for r in results
        for reference in same_measurement(r, findings.references)
    ]
    if not rows:
        return []
    head = (
        "task", "metric", "ours", "published model", "size", "setting", "theirs", "in words",
        "source",
    )  # fmt: skip
    text = (
        "Published figures of the same task, split and metric. A difference is claimed where it "
        "exceeds 1.96 standard errors of both; our rows may be a sample of the split."
    )
    return [Paragraph(text), Table(head, rows)]


def task_section(findings: Findings, suite: str | None, text: str) -> list[Block]:
    """The section of a suite whose figures are those of tasks.

    Args:
        findings: What was found.
        suite: Name of the suite.
        text: What its tasks are.
    """
    results = findings.of(suite)
    blocks: list[Block] = [findings.paragraph(text)]
    firsts = first_metrics(results, suite)
    if shares := [r for r in firsts if r.metric in PERCENT]:
        blocks.append(_task_plot(shares, findings.references, suite or "requested"))
    bad = [r.task for r in firsts if r.majority is not None and not beats_constant(r)]
    if bad:
        blocks.append(
            Paragraph(
                "Not significantly better than without the text (paired bootstrap on the same "
                f"rows): {', '.join(bad)}."
            )
        )
    blocks.append(result_table(results, TASK_COLUMNS))
    return blocks + published_tables(results, findings)


def _task_plot(results: Sequence[Result], references: Sequence[Reference], name: str) -> DotPlot:
    points = [
        Point(row, 100 * r.value, r.low and 100 * r.low, r.high and 100 * r.high)
        for row, r in enumerate(results)
    ]
    published = [
        Point(row, 100 * reference.value)
        for row, r in enumerate(results)
        for reference in same_measurement(r, references)
    ]
    series = [Series("this model, 95% interval", points, OURS)]
    if published:
        series.append(Series("published scores", published, PUBLISHED, "|"))
    return DotPlot(
        f"tasks-{name}",
        "Score by task",
        [f"{r.task} ({r.metric})" for r in results],
        series,
        "percent",
        baselines=[None if r.majority is None else 100 * r.majority for r in results],
    )


# -- sentences -------------------------------------------------------------------------------------


def task_summary(findings: Findings, suite: str | None, tasks: str) -> list[str]:
    """A paragraph on the tasks of a suite: how many beat a constant answer, the best, the worst.

    Args:
        findings: What was found.
        suite: Name of the suite.
        tasks: What its tasks are called at the start of the sentence.
    """
    firsts = [r for r in first_metrics(findings.results, suite) if r.majority is not None]
    if not firsts:
        return []
    beating = [r for r in firsts if beats_constant(r)]
    text = f"{tasks}: significantly better than the best answer that ignores the text on "
    text += f"{len(beating)} of {len(firsts)}"
    if alike := [r for r in firsts if r.metric == "accuracy"]:
        mean, constant = np.mean([(r.value, r.majority or 0.0) for r in alike], axis=0)
        text += f"; mean accuracy over the {count_tasks(len(alike))} measured in accuracy "
        text += f"{100 * mean:.1f}, of that answer {100 * constant:.1f}"
    return [" ".join([f"{text}.", *_best_and_worst(firsts)])]


def _best_and_worst(firsts: Sequence[Result]) -> list[str]:
    sentences = []
    ranked = sorted((r for r in firsts if r.metric in PERCENT), key=_gain, reverse=True)
    if best := [r for r in ranked if beats_constant(r)][:MAX_NAMED]:
        sentences.append(f"Furthest above that answer: {_listed(best)}.")
    bad = sorted((r for r in firsts if not beats_constant(r)), key=_gain)
    if bad:
        more = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        sentences.append(f"Not significantly better than it: {_listed(bad[:MAX_NAMED])}{more}.")
    elif len(ranked) > MAX_NAMED:
        sentences.append(f"Closest to it: {_listed(ranked[-2:])}.")
    return sentences


def count_tasks(count: int) -> str:
    """A number of tasks in words."""
    return "1 task" if count == 1 else f"{count} tasks"


def _listed(results: Sequence[Result]) -> str:
    """Tasks with their figures, and the metric where it is not accuracy."""
    return ", ".join(
        f"{r.task} ({_rounded(r)})"
        if r.metric == "accuracy"
        else f"{r.task} ({_rounded(r)} {r.metric})"
        for r in results
    )


def _rounded(result: Result) -> str:
    return f"{100 * result.value:.0f}" if result.metric in PERCENT else f"{result.value:.2f}"
