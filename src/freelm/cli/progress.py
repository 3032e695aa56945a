"""Rows done, rows per second and time left, on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from freelm.cli.options import say

EVERY = 30.0
"""Seconds between two lines where standard error is no terminal."""


@contextmanager
def row_progress() -> Iterator[Callable[[int, int], None]]:
    """Something to be told (rows done, of how many): a bar in a terminal, else now and then a line.

    What it is told first was done before and does not count for the speed.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        yield Lines(time.monotonic)


class Lines:
    """A line now and then.

    Args:
        clock: Tells the seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._speed = Speed(clock)
        self._said = clock()

    def __call__(self, done: int, total: int) -> None:
        """Say how far the run is, if nothing was said for `EVERY` seconds."""
        words = self._speed.words(done, total)
        if done < total and self._clock() - self._said >= EVERY:
            self._said = self._clock()
            say(words)


class Speed:
    """How fast rows are done.

    Args:
        clock: Tells the seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def words(self, done: int, total: int) -> str:
        """As in "1,200 of 5,000 rows, 310 rows/s, 12 s left"."""
        if self._first is None:
            self._first = done, self._clock()
        before, began = self._first
        seconds = self._clock() - began
        text = f"{done:,} of {total:,} rows"
        if done == before or seconds <= 0:
            return text
        rate = (done - before) / seconds
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return f"{text}, {shown} rows/s, {duration((total - done) / rate)} left"


def duration(seconds: float) -> str:
    """A time in words: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    speed = Speed(time.monotonic)
    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def show(done: int, total: int) -> None:
            words = speed.words(done, total)
            progress.update(task, completed=done, total=total, description=words)

        yield show
