import sys

import pytest
from matplotlib.figure import Figure

from freelm.eval.sections import OURS, PUBLISHED, DotPlot, Point, Series
from freelm.report.plots import BASELINE_LABEL, Plot, draw_plot, learning_curves


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


def dot_plot(num_rows):
    rows = [f"task {n}" for n in range(num_rows)]
    series = [
        Series("this model", [Point(n, 60.0, 55.0, 65.0) for n in range(num_rows)], OURS),
        Series("published", [Point(n, 70.0) for n in range(num_rows)], PUBLISHED, "|"),
    ]
    return DotPlot("tasks", "caption", rows, series, "percent", baselines=[50.0] * num_rows)


@pytest.mark.parametrize("num_rows", [1, 3, 30])
def test_legend_is_inside_the_figure_and_above_the_axes(figures, num_rows):
    draw_plot(dot_plot(num_rows))
    (figure,) = figures
    (legend,) = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["this model", "published", BASELINE_LABEL]
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.axes[0].bbox.y1 <= box.y0 < box.y1 <= figure.bbox.y1


def test_untrained_signal_has_no_panel():
    teacher = [{"tokens": 10, "teacher_loss": 0.7}, {"tokens": 10, "teacher_loss": 0.6}]
    both = [*teacher, {"tokens": 10, "language_loss": 3.0}]
    titles = [[p.title for p in learning_curves({"": run}).panels] for run in (teacher, both)]
    assert titles == [["teacher signal"], ["language signal", "teacher signal"]]
    assert learning_curves({"": []}) is learning_curves({}) is None


def test_runs_have_the_same_color_in_all_panels(figures):
    teacher = [{"tokens": 10, "teacher_loss": 0.7}]
    draw_plot(learning_curves({"text": [{"tokens": 9, "language_loss": 3.0}], "both": teacher}))
    colors = {line.get_label(): line.get_color() for axis in figures[0].axes for line in axis.lines}
    assert colors["text"] != colors["both"]


def test_nothing_is_drawn_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_plot(dot_plot(2)) == Plot("tasks", "caption", "")


def test_equal_data_gives_equal_drawings():
    one, other = draw_plot(dot_plot(2)), draw_plot(dot_plot(2))
    assert one == other
    assert one.svg.startswith("<svg")
