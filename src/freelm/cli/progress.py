"""Progress of a long file on standard error: rows done, rows per second, time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from freelm.cli.options import say

FIRST_AFTER, EVERY = 2.0, 30.0
"""Seconds until the first line and between lines, if standard error is not a terminal."""


@contextmanager
def row_progress() -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (rows done, all rows): a bar in a terminal, else a line now and then.

    The rows of its first call were done by earlier runs and do not count for the speed.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        yield Lines(time.monotonic)


class Lines:
    """Prints a line now and then.

    Args:
        clock: Returns a time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._speed = Speed(clock)
        self._next = clock() + FIRST_AFTER

    def __call__(self, done: int, total: int) -> None:
        """Print the progress if the next line is due."""
        words = self._speed.words(done, total)
        if done < total and self._clock() >= self._next:
            self._next = self._clock() + EVERY
            say(words)


class Speed:
    """Measures rows per second.

    Args:
        clock: Returns a time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def words(self, done: int, total: int) -> str:
        """For example "1,200 of 5,000 rows, 310 rows/s, 12 s left"."""
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
    """A duration: `45 s`, `12 min`, `3 h 20 min`."""
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
