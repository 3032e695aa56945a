import sys

import pytest
from matplotlib.figure import Figure

from freelm.eval.sections import Interval, IntervalPlot
from freelm.report import plots
from freelm.report.page import Plot

LABELS = ("this model, 95% interval", "best answer without the text", "published figures")


@pytest.fixture
def figures(monkeypatch):
    """Figures, in the order in which they are drawn."""
    drawn = []
    own = Figure.savefig

    def savefig(self, *arguments, **settings):
        drawn.append(self)
        own(self, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def intervals(count):
    rows = [Interval(f"task {n}", 60.0, 55.0, 65.0, 50.0, [70.0]) for n in range(count)]
    return IntervalPlot("tasks", "caption", rows, "percent", LABELS)


@pytest.mark.parametrize("count", [1, 3, 30])
def test_the_legend_is_inside_the_figure_and_above_the_axes(figures, count):
    plots.draw_block(intervals(count))
    (figure,) = figures
    (legend,) = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    assert [text.get_text() for text in legend.get_texts()] == [LABELS[0], LABELS[2], LABELS[1]]
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.axes[0].bbox.y1 <= box.y0 < box.y1 <= figure.bbox.y1


def test_a_signal_that_was_not_trained_has_no_diagram(figures):
    teacher = [{"tokens": 10, "teacher_loss": 0.7}, {"tokens": 10, "teacher_loss": 0.6}]
    plots.learning({"": teacher})
    assert [axis.get_title() for axis in figures[0].axes] == ["teacher signal"]
    plots.learning({"": [*teacher, {"tokens": 10, "language_loss": 3.0}]})
    assert [axis.get_title() for axis in figures[1].axes] == ["language signal", "teacher signal"]
    plots.learning({"text": [{"tokens": 9, "language_loss": 3.0}], "both": teacher})
    colours = {
        line.get_label(): line.get_color() for axis in figures[2].axes for line in axis.lines
    }
    assert colours["text"] != colours["both"]
    assert plots.learning({"": []}) is plots.learning({}) is None


def test_nothing_is_drawn_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plots.draw_block(intervals(2)) == Plot("tasks", "caption", "")


def test_equal_data_gives_equal_drawings():
    one, other = plots.draw_block(intervals(2)), plots.draw_block(intervals(2))
    assert one == other
    assert one.svg.startswith("<svg")
