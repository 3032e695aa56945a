import io

import pytest

from freelm.cli import progress
from freelm.cli.progress import Lines, Speed, duration, row_progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_speed_and_time_left_count_from_what_was_done_before():
    clock = Clock()
    speed = Speed(clock)
    assert speed.words(5000, 20_000) == "5,000 of 20,000 rows"
    clock.now += 10
    assert speed.words(6000, 20_000) == "6,000 of 20,000 rows, 100 rows/s, 2 min left"
    clock.now += 90
    assert speed.words(5250, 20_000) == "5,250 of 20,000 rows, 2.5 rows/s, 1 h 38 min left"
    assert speed.words(5000, 20_000) == "5,000 of 20,000 rows"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_a_line_comes_now_and_then_and_not_at_the_end(capsys):
    clock = Clock()
    lines = Lines(clock)
    for done in range(0, 101):
        lines(done, 100)
        clock.now += 1
    assert capsys.readouterr().err.splitlines() == [
        "2 of 100 rows, 1.0 rows/s, 98 s left",
        "32 of 100 rows, 1.0 rows/s, 68 s left",
        "62 of 100 rows, 1.0 rows/s, 38 s left",
        "92 of 100 rows, 1.0 rows/s, 8 s left",
    ]


def test_a_terminal_has_a_bar_and_anything_else_has_none(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with row_progress() as told:
            told(0, 10)
            told(10, 10)
        assert bool(stream.getvalue()) == isinstance(stream, Terminal)
    assert progress.EVERY > 1
