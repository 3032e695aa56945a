"""Draws the plots of reports and comparisons as SVG.

matplotlib is optional (the `train` extra) and imported when something is drawn.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freelm.eval.sections import DotPlot, LinePlot, Panel, PlotData, Point, ScatterPlot, Series
from freelm.train.progress import smoothed

BASELINE_COLOR = "0.75"
BASELINE_LABEL = "best answer without the text"

DODGE = 0.18
"""Vertical distance between the series of a dot plot, in rows."""

MAX_LEGEND = 24
"""Dot plots with more series have no legend."""


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: Stem of its file next to the Markdown page.
        caption: Shown below it, and its text alternative.
        svg: The drawing; empty without matplotlib.
    """

    name: str
    caption: str
    svg: str


def draw_plot(plot: PlotData) -> Plot:
    """Draw a plot."""
    match plot:
        case DotPlot():
            size = (9.0, 1.5 + 0.36 * len(plot.rows))
            return draw(plot.name, plot.caption, lambda figure: _draw_dots(figure, plot), size)
        case LinePlot():
            size = (4.5 * max(len(plot.panels), 1.4), 4.0)
            return draw(plot.name, plot.caption, lambda figure: _draw_lines(figure, plot), size)
        case ScatterPlot():
            return draw(plot.name, plot.caption, lambda figure: _draw_scatter(figure, plot), (8, 5))


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


def _draw_dots(figure: Any, plot: DotPlot) -> None:
    axis = figure.subplots()
    if plot.line is not None:
        axis.axvline(plot.line, color="0.6", lw=1, ls="--", label=plot.line_label)
    bars = [(row, value) for row, value in enumerate(plot.baselines) if value is not None]
    if bars:
        style = {"height": 0.75, "color": BASELINE_COLOR, "zorder": 1}
        axis.barh(*zip(*bars, strict=True), **style, label=BASELINE_LABEL)
    for number, series in enumerate(plot.series):
        shift = DODGE * (number - (len(plot.series) - 1) / 2) if plot.dodge else 0.0
        _draw_series(axis, series, shift)
    axis.set_yticks(range(len(plot.rows)), plot.rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(plot.x_label)
    if 0 < len(axis.get_legend_handles_labels()[1]) <= MAX_LEGEND:
        figure.legend(fontsize=8, loc="outside upper center", ncols=3)


def _draw_series(axis: Any, series: Series, shift: float) -> None:
    x, y = [p.value for p in series.points], [p.row + shift for p in series.points]
    big = {"ms": 11, "mew": 1.5} if series.marker == "|" else {"ms": 5}
    (drawn,) = axis.plot(x, y, series.marker, color=series.color, label=series.label, **big)
    for p in series.points:
        if p.low is not None and p.high is not None:
            axis.hlines(p.row + shift, p.low, p.high, color=drawn.get_color(), lw=2, zorder=3)


def _draw_lines(figure: Any, plot: LinePlot) -> None:
    axes = figure.subplots(1, len(plot.panels), squeeze=False)[0]
    for axis, panel in zip(axes, plot.panels, strict=True):
        if panel.unit_square:
            axis.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--")
            axis.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        for label, (x, y) in panel.curves.items():
            if not y:
                axis.plot([], [])  # each label has the same color in all panels
            elif panel.smooth:
                (raw,) = axis.plot(x, y, lw=0.5, alpha=0.35)
                axis.plot(x, smoothed(y), color=raw.get_color(), label=label or None)
            else:
                axis.plot(x, y, "o-" if len(x) < 30 else "-", ms=3, lw=1, label=label or None)
        axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if any(panel.curves):
            axis.legend(fontsize=7)


def _draw_scatter(figure: Any, plot: ScatterPlot) -> None:
    axis = figure.subplots()
    for label, (x, y) in plot.points.items():
        errors = {"xerr": _error_bar(x), "yerr": _error_bar(y)}
        axis.errorbar(x.value, y.value, **errors, fmt="o", ms=5, lw=1)
        offset = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 7}
        axis.annotate(label, (x.value, y.value), **offset)
    axis.set(xscale="log", xlabel=plot.x_label, ylabel=plot.y_label)


def _error_bar(point: Point) -> list[list[float]]:
    low, high = point.low or point.value, point.high or point.value
    return [[max(0.0, point.value - low)], [max(0.0, high - point.value)]]


def learning_curves(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> LinePlot | None:
    """The loss of each signal over the tokens of training, or None without any loss.

    A signal without losses has no panel.

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
        if any(losses for _, losses in curves.values()):
            axes = ("million tokens", "loss (nats)")
            panels.append(Panel(f"{signal} signal", *axes, curves, smooth=True))
    return LinePlot("learning", "Training loss of each signal", panels) if panels else None
