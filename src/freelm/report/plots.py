"""All plots of reports and comparisons, as SVG.

matplotlib is optional (the `train` extra) and imported when something is drawn.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freelm.eval import sections
from freelm.report.page import Block, Plot
from freelm.train.progress import smoothed

OURS, OTHER, CONSTANT, PUBLISHED = "tab:blue", "tab:orange", "0.75", "tab:red"
DODGE = 0.18
"""Vertical distance between the series of a dot plot, in rows."""

MAX_LEGEND = 24
"""Diagrams with more series have no legend."""


@dataclass(frozen=True)
class Point:
    """A value in a row of a dot plot, with its interval if it has one."""

    row: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points of one colour.

    Attributes:
        label: For the legend.
        points: The points.
        color: None takes the next of the cycle.
        marker: A matplotlib marker.
    """

    label: str
    points: Sequence[Point]
    color: str | None = None
    marker: str = "o"


@dataclass(frozen=True)
class Panel:
    """One diagram of a line plot.

    Attributes:
        title: Above it.
        xlabel: Label of the x axis.
        ylabel: Label of the y axis.
        curves: Label -> x and y values.
        settings: Further properties of the axes, as matplotlib's `Axes.set` takes them.
        diagonal: Draw the line from (0, 0) to (1, 1).
        smooth: Draw the values in grey and their moving average in colour.
    """

    title: str
    xlabel: str
    ylabel: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    settings: Mapping[str, Any]
    diagonal: bool = False
    smooth: bool = False


def draw(name: str, caption: str, paint: Callable[[Any], None], size: tuple[float, float]) -> Plot:
    """A plot, without a drawing if matplotlib is not installed.

    Args:
        name: Stem of its file.
        caption: What it shows.
        paint: Draws on a matplotlib figure.
        size: Width and height in inches.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return Plot(name, caption, "")
    file = io.StringIO()
    # A fixed salt and no date: equal figures give equal files.
    with matplotlib.rc_context({"svg.hashsalt": "freelm", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return Plot(name, caption, text[text.index("<svg") :])


def dots(
    name: str,
    caption: str,
    rows: Sequence[str],
    series: Sequence[Series],
    xlabel: str,
    *,
    constants: Sequence[float | None] = (),
    constant_label: str = "best answer without the text",
    line: tuple[float, str] | None = None,
    dodge: bool = False,
    limits: tuple[float, float] | None = None,
) -> Plot:
    """Values with intervals in labelled rows.

    Args:
        name: Stem of the plot's file.
        caption: What it shows.
        rows: Row labels, from top to bottom.
        series: What is drawn.
        xlabel: Label of the x axis.
        constants: Per row a baseline, drawn as a grey bar.
        constant_label: Of these in the legend.
        line: Where to draw a vertical line, and its label.
        dodge: Draw the series of a row above each other.
        limits: Of the x axis.
    """

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        if line is not None:
            axis.axvline(line[0], color="0.6", lw=1, ls="--", label=line[1] or None)
        if any(value is not None for value in constants):
            bars = [(row, value) for row, value in enumerate(constants) if value is not None]
            axis.barh(*zip(*bars, strict=True), height=0.75, color=CONSTANT, zorder=1,
                      label=constant_label)  # fmt: skip
        for number, one in enumerate(series):
            shift = DODGE * (number - (len(series) - 1) / 2) if dodge else 0.0
            _paint_series(axis, one, shift)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.invert_yaxis()
        axis.set_xlabel(xlabel)
        if limits:
            axis.set_xlim(*limits)
        if 0 < len(axis.get_legend_handles_labels()[1]) <= MAX_LEGEND:
            figure.legend(fontsize=8, loc="outside upper center", ncols=3)

    return draw(name, caption, paint, (9, 1.5 + 0.36 * len(rows)))


def _paint_series(axis: Any, series: Series, shift: float) -> None:
    x, y = [p.value for p in series.points], [p.row + shift for p in series.points]
    big = {"ms": 11, "mew": 1.5} if series.marker == "|" else {"ms": 5}
    (drawn,) = axis.plot(x, y, series.marker, color=series.color, label=series.label, **big)
    for p in series.points:
        if p.low is not None and p.high is not None:
            axis.hlines(p.row + shift, p.low, p.high, color=drawn.get_color(), lw=2, zorder=3)


def lines(name: str, caption: str, panels: Sequence[Panel]) -> Plot | None:
    """Curves in diagrams next to each other; None if there is nothing to draw."""
    panels = [panel for panel in panels if any(len(y) for _, y in panel.curves.values())]
    if not panels:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            if panel.diagonal:
                axis.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
            for label, (x, y) in panel.curves.items():
                if not y:
                    axis.plot([], [])  # each label has the same colour in all panels
                elif panel.smooth:
                    (raw,) = axis.plot(x, y, lw=0.5, alpha=0.35)
                    axis.plot(x, smoothed(y), color=raw.get_color(), label=label or None)
                else:
                    axis.plot(x, y, "o-" if len(x) < 30 else "-", ms=3, lw=1, label=label or None)
            axis.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel, **panel.settings)
            if any(panel.curves):
                axis.legend(fontsize=7)

    return draw(name, caption, paint, (4.5 * max(len(panels), 1.4), 4))


def learning(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Plot | None:
    """The loss of each signal over the tokens of training; a signal without losses has no diagram.

    Args:
        runs: Label -> lines of the run's metrics.
    """
    panels = []
    for signal in ("language", "teacher"):
        curves = {}
        for label, records in runs.items():
            tokens, losses, seen = [], [], 0.0
            for record in records:
                seen += record.get("tokens", 0)
                if f"{signal}_loss" in record:
                    tokens.append(seen / 1e6)
                    losses.append(record[f"{signal}_loss"])
            curves[label] = (tokens, losses)
        title = f"{signal} signal"
        panels.append(Panel(title, "million tokens", "loss (nats)", curves, {}, smooth=True))
    return lines("learning", "Training loss of each signal", panels)


def draw_block(block: sections.Block) -> Block | None:
    """A block of an evaluation's section, drawn if it is the data of a plot."""
    match block:
        case sections.IntervalPlot():
            return _intervals(block)
        case sections.DotPlot():
            return _changes(block)
        case sections.CurvePlot():
            settings = {"xlim": (0, 1)} | ({"ylim": (-0.02, 1.02)} if block.diagonal else {})
            panels = [
                Panel(
                    title, block.x_label, block.y_label,
                    {c.label: (c.x, c.y) for c in curves}, settings, block.diagonal,
                )
                for title, curves in block.panels.items()
            ]  # fmt: skip
            return lines(block.name, block.caption, panels)
    return block


def _intervals(block: sections.IntervalPlot) -> Plot:
    value, baseline, marks = block.labels
    points = [Point(row, one.value, one.low, one.high) for row, one in enumerate(block.rows)]
    series = [Series(value, points, OURS)]
    others = [Point(row, mark) for row, one in enumerate(block.rows) for mark in one.marks]
    if others:
        series.append(Series(marks, others, PUBLISHED, "|"))
    return dots(
        block.name, block.caption, [one.label for one in block.rows], series, block.x_label,
        constants=[one.baseline for one in block.rows], constant_label=baseline,
    )  # fmt: skip


def _changes(block: sections.DotPlot) -> Plot:
    series = [
        Series(name, [Point(block.rows.index(row), value) for row, value in values.items()])
        for name, values in block.series.items()
    ]
    return dots(block.name, block.caption, block.rows, series, block.x_label, line=(0.0, ""))


def scatter(
    name: str, caption: str, points: Mapping[str, tuple[Point, Point]], xlabel: str, ylabel: str
) -> Plot:
    """Labelled points with intervals in both directions; the x axis is logarithmic.

    Args:
        name: Stem of the plot's file.
        caption: What it shows.
        points: Label -> x and y.
        xlabel: Label of the x axis.
        ylabel: Label of the y axis.
    """

    def paint(figure: Any) -> None:
        axis = figure.subplots()
        for label, (x, y) in points.items():
            axis.errorbar(x.value, y.value, xerr=_errors(x), yerr=_errors(y), fmt="o", ms=5, lw=1)
            place = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(label, (x.value, y.value), **place)
        axis.set(xscale="log", xlabel=xlabel, ylabel=ylabel)

    return draw(name, caption, paint, (8, 5))


def _errors(point: Point) -> list[list[float]]:
    low, high = point.low or point.value, point.high or point.value
    return [[max(0.0, point.value - low)], [max(0.0, high - point.value)]]
