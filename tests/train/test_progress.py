import pytest

from freelm.train import progress as module
from freelm.train.progress import ProgressReporter, plot_losses, smoothed


def record(step, signal="teacher", loss=1.0, tokens=100):
    return {"step": step, "signal": signal, f"{signal}_loss": loss, "tokens": tokens}


def test_smoothed():
    # Weights 0.05 and 0.05 * 0.95, divided by their sum.
    assert smoothed([4.0, 4.0, 4.0]) == pytest.approx([4.0, 4.0, 4.0])
    assert smoothed([1.0, 0.0]) == pytest.approx([1.0, 0.95 / 1.95])
    assert smoothed([]) == []


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", -1.0)
    lines = []
    with ProgressReporter(10, 4, lines.append) as reporter:
        reporter.update(record(4, "language", 3.0))
        reporter.update(record(5, "teacher", 0.5))
        reporter.update(record(6, "teacher", 1.5))
    assert [line.split()[:2] for line in lines] == [["step", f"{n}/10"] for n in (5, 6, 7)]
    assert "language 3.000  teacher 0.550" in lines[-1]
    assert "tokens/s" in lines[-1]
    assert lines[-1].endswith("min left")


def test_no_line_before_its_time():
    lines = []
    with ProgressReporter(10, 0, lines.append) as reporter:
        for step in range(9):
            reporter.update(record(step))
    assert lines == []


def test_time_left_counts_the_steps_of_this_process(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    lines = []
    with ProgressReporter(100, 0, lines.append) as reporter:
        reporter.start = 90  # resumed
        now[0] = 60.0
        reporter.update(record(90))
    # One step in 60 s, nine to go.
    assert lines[0].endswith("9.0 min left")
    assert reporter.tokens_per_s == pytest.approx(100 / 60)


def test_lines_go_to_standard_error(capsys):
    with ProgressReporter(2, 0) as reporter:
        reporter.say("a line with [brackets] and 12 numbers")
    out = capsys.readouterr()
    assert out.out == ""
    assert "a line with [brackets] and 12 numbers\n" in out.err


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record(0, "language"), record(1, "teacher"), record(2, "language")],
        [record(0, "teacher"), record(1, "teacher")],
        [record(0, "language"), {"step": 0, "validation": {"rte": 0.5}}],
        [{"step": 0, "signal": "both", "language_loss": 1.0, "teacher_loss": 2.0}],
    ],
)
@pytest.mark.filterwarnings("error")
def test_plot(tmp_path, records):
    plot_losses(records, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
