"""Progress of a run on standard error (losses, speed, time left) and the plot of its losses."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SMOOTHING = 0.95
"""Weight of the past in the shown losses."""

LINE_EVERY_S = 30.0
"""Seconds between lines when the output is not a terminal."""


class ProgressReporter:
    """Reports progress on standard error: a bar on a terminal, otherwise a line every 30 seconds.

    Args:
        total: Steps of the run.
        start: Steps done by earlier runs.
        say: Receives the lines; None writes them to standard error.
    """

    def __init__(self, total: int, start: int, say: Callable[[str], None] | None = None) -> None:
        self.total, self.start = total, start
        self._console = Console(file=sys.stderr)
        self.say = say or (lambda line: self._console.print(line, highlight=False, markup=False))
        self._losses: dict[str, float] = {}
        self._tokens, self._begin = 0, time.monotonic()
        self._last_line = self._begin
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal or say is not None,
        )
        self._task = self._bar.add_task("training", total=total, completed=start)

    def __enter__(self) -> "ProgressReporter":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    @property
    def tokens_per_s(self) -> float:
        """Tokens computed per second since the start."""
        return self._tokens / max(1e-9, time.monotonic() - self._begin)

    def update(self, record: dict[str, Any]) -> None:
        """Show a finished step (its line of the metrics)."""
        self._tokens += record["tokens"]
        for signal in ("language", "teacher"):
            value = record.get(f"{signal}_loss")
            if value is not None:
                past = self._losses.get(signal, value)
                self._losses[signal] = SMOOTHING * past + (1 - SMOOTHING) * value
        self._bar.update(self._task, completed=record["step"] + 1, description=self._describe())
        if self._bar.disable and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.say(self._line(record["step"] + 1))

    def _describe(self) -> str:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in sorted(self._losses.items()))
        return f"{losses}  {self.tokens_per_s:,.0f} tokens/s"

    def _line(self, done: int) -> str:
        elapsed = time.monotonic() - self._begin
        left = elapsed / max(1, done - self.start) * (self.total - done)
        return f"step {done}/{self.total}  {self._describe()}  {left / 60:.1f} min left"


def plot_losses(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw both losses, smoothed, and the validation accuracy over the steps of a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, left = plt.subplots(figsize=(8, 4.5), layout="constrained")
    right = left.twinx()
    lines = []
    for axis, signal, colour in ((left, "language", "tab:blue"), (right, "teacher", "tab:orange")):
        points = [(r["step"], r[f"{signal}_loss"]) for r in records if r.get(f"{signal}_loss")]
        if points:
            steps, losses = zip(*points, strict=True)
            axis.plot(steps, losses, color=colour, alpha=0.2, linewidth=0.8)
            lines += axis.plot(steps, smoothed(losses), color=colour, label=f"{signal} loss")
        axis.set_ylabel(f"{signal} loss (nats)")
        axis.set_visible(bool(points) or axis is left)
    left.set_xlabel("step")
    left.legend(handles=lines, loc="upper right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def smoothed(values: Sequence[float]) -> list[float]:
    """Running mean with exponential forgetting, without a bias towards the first value."""
    out: list[float] = []
    total = weight = 0.0
    for value in values:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        out.append(total / weight)
    return out
