"""Results: one figure each, as JSON lines and as a table on the terminal."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from freelm.errors import DataError

PERCENT = {
    "accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "last_word_accuracy",
    "completion_accuracy", "completion_accuracy_norm", "distinct_1", "distinct_2", "distinct_3",
    "repetition", "disagreement", "flipped", "acc", "acc_norm", "exact_match",
    "true_accepted", "false_rejected", "pair_accuracy", "rewordings_agree", "all_rewordings_agree",
    "opposites_alike",
    "coverage_at_5%_error", "accuracy_at_0.9",
}  # fmt: skip
"""Metrics that are shown times 100."""

LOWER_IS_BETTER = (
    "mae", "brier", "ece", "aurc", "perplexity", "bits_per_byte", "opposites_alike",
)  # fmt: skip

RESULTS_FILE = "results.jsonl"


@dataclass(frozen=True, slots=True)
class Result:
    """One figure.

    Attributes:
        task: Name of the task or corpus.
        family: Family of the task; `language` for corpora.
        split: The split that it was measured on.
        metric: Name of the metric.
        value: The figure; shares are fractions.
        n: Number of items (rows, or predicted tokens).
        low: Lower end of the 95% bootstrap interval, None without one.
        high: Upper end.
        majority: The best answer that ignores the text, None without one.
        suite: The suite that it belongs to, None for tasks that were requested by name.
        variant: How the rows or the answers were changed before they were measured.
        spread: Standard deviation over seeds (n - 1 in the denominator); the value is their mean.
        seeds: Number of seeds.
        note: Caveats.
        gain_low: Lower end of the 95% interval of how much better it is than `majority`, by paired
            bootstrap; above 0 is better, whatever the metric. None for all but a task's first
            metric.
        gain_high: Upper end.
    """

    task: str
    family: str
    split: str
    metric: str
    value: float
    n: int
    low: float | None
    high: float | None
    majority: float | None
    suite: str | None = None
    variant: str | None = None
    spread: float | None = None
    seeds: int | None = None
    note: str | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    def as_json(self) -> str:
        """The figure as one line of JSON, without the optional facts that it lacks."""
        facts = asdict(self)
        return json.dumps({k: v for k, v in facts.items() if k in _STATED or v is not None})

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the figures of two runs must share to be the same figure."""
        return (self.suite, self.task, self.split, self.metric, self.variant)


_STATED = ("task", "family", "split", "metric", "value", "n", "low", "high", "majority")

COLUMNS = ("task", "family", "split", "metric", "value", "95% interval", "majority", "n")


def cells(result: Result) -> tuple[str, ...]:
    """The cells of a figure's row, in the order of `COLUMNS`."""
    metric = f"{result.metric} ({result.variant})" if result.variant else result.metric
    return (
        result.task,
        result.family,
        result.split,
        metric,
        value_with_spread(result),
        interval(result),
        shown(result, result.majority),
        f"{result.n:,}",
    )


def shown(result: Result, value: float | None) -> str:
    """A value in the unit of a result, as text: shares times 100, the rest unchanged."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if result.metric in PERCENT else f"{value:.3f}"


def value_with_spread(result: Result) -> str:
    """A figure, with its standard deviation over seeds where it is a mean."""
    spread = "" if result.spread is None else f" ± {shown(result, result.spread)}"
    return shown(result, result.value) + spread


def interval(result: Result) -> str:
    """The 95% interval of a figure, empty without one."""
    if result.low is None or result.high is None:
        return ""
    return f"{shown(result, result.low)} - {shown(result, result.high)}"


def spread_in_words(models: int) -> str:
    """What ± means in figures that are means over several models."""
    return f"mean ± standard deviation over {models} trained models"


def terminal_table(results: Iterable[Result], title: str) -> Table:
    """The figures as a table for a terminal."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 4 else "right", no_wrap=True)
    for result in results:
        table.add_row(*cells(result))
    return table


def write_results(results: Sequence[Result], folder: Path) -> None:
    """Write `results.jsonl` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(result.as_json() + "\n" for result in results)
    (folder / RESULTS_FILE).write_text(lines, encoding="utf-8")


def read_results(folder: Path) -> list[Result]:
    """The figures of an evaluation folder.

    Raises:
        DataError: If there are none, or a line is not a figure.
    """
    path = folder / RESULTS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    results = []
    for number, line in enumerate(lines, 1):
        try:
            results.append(Result(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}, line {number}: is not a figure ({error})") from None
    return results


def check_counts(runs: Sequence[Sequence[Result]]) -> None:
    """Check that runs measured their figures on equally many items.

    Raises:
        DataError: If they did not; the message names the task and the counts.
    """
    counts: dict[tuple[Any, ...], dict[int, None]] = {}
    for result in (result for run in runs for result in run):
        found = counts.setdefault(result.identity, {})
        found[result.n] = None
        if len(found) > 1:
            listed = " and ".join(f"{count:,}" for count in found)
            variant = f" ({result.variant})" if result.variant else ""
            raise DataError(
                f"{result.task}: {result.metric}{variant} cannot be averaged over {listed} items; "
                "evaluate all seeds on the same rows, with the same --limit"
            )


def average(
    runs: Sequence[Sequence[Result]], say: Callable[[str], None] = lambda line: None
) -> list[Result]:
    """The mean figures of runs that differ in their seed alone, with their spread.

    Args:
        runs: The figures of each run; those that not all of them measured are omitted.
        say: Receives a message for each task whose figures are omitted.

    Returns:
        The first run's figures with the mean as value. Their intervals cover other items and other
        seeds: the first run's interval, moved to the mean, and that of the mean over seeds
        (Student's t), combined as independent.

    Raises:
        DataError: As `check_counts`, or if the runs have no figure in common.
    """
    check_counts(runs)
    if len(runs) == 1:
        return list(runs[0])
    found = [{result.identity: result for result in run} for run in runs]
    missing: dict[str, dict[str, None]] = {}
    averaged = []
    for first in runs[0]:
        measured = [run[first.identity] for run in found if first.identity in run]
        if len(measured) == len(runs):
            averaged.append(_averaged(measured))
        else:
            changed = ", ".join(filter(None, (first.suite, first.variant)))
            name = f"{first.task} ({changed})" if changed else first.task
            missing.setdefault(name, {})[first.metric] = None
    if not averaged:
        raise DataError("the evaluations to average have no figure in common; measure the same")
    for name, metrics in missing.items():
        say(f"{name}: {', '.join(metrics)} omitted: not measured in every evaluation")
    return averaged


def _averaged(measured: Sequence[Result]) -> Result:
    """One figure, measured with several seeds, as their mean."""
    from scipy.stats import t as student_t

    first, values = measured[0], [result.value for result in measured]
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(student_t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    moved = mean - first.value
    low, high = _around(first.value, first.low, first.high, moved, reach)
    gain_low, gain_high = first.gain_low, first.gain_high
    if first.majority is not None:
        sign = -1 if first.metric in LOWER_IS_BETTER else 1
        gain = sign * (first.value - first.majority)
        gain_low, gain_high = _around(gain, gain_low, gain_high, sign * moved, reach)
    return replace(
        first,
        value=mean,
        low=low,
        high=high,
        spread=spread,
        seeds=len(values),
        gain_low=gain_low,
        gain_high=gain_high,
    )


def _around(
    value: float, low: float | None, high: float | None, moved: float, reach: float
) -> tuple[float | None, float | None]:
    """The interval of a value that moves, widened by the half-width `reach` of another cause."""
    if low is None or high is None:
        return low, high
    down, up = (float(np.hypot(max(0.0, side), reach)) for side in (value - low, high - value))
    return value + moved - down, value + moved + up
