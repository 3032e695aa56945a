"""Results: one line per figure, as JSON, as a table on the terminal and as Markdown."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

PERCENT = {"accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "last_word_accuracy"}
"""Metrics that are shown times 100."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure.

    Attributes:
        task: Name of the task or corpus.
        family: Family of the task; `language` for corpora.
        split: The split that it was measured on.
        metric: Name of the metric.
        value: The figure, as a fraction where it is a share.
        n: Items (rows, or predicted tokens).
        low: Lower end of the 95% bootstrap interval, None where there is none.
        high: Upper end.
        majority: The best answer that ignores the text, None where there is none.
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

    def as_json(self) -> str:
        """The figure as one line of JSON."""
        return json.dumps(asdict(self))


COLUMNS = ("task", "family", "split", "metric", "value", "95% interval", "majority", "n")


def cells(result: Result) -> tuple[str, ...]:
    """The cells of a figure's row, in the order of `COLUMNS`."""
    return (
        result.task,
        result.family,
        result.split,
        result.metric,
        shown(result, result.value),
        "" if result.low is None else f"{shown(result, result.low)} - {shown(result, result.high)}",
        shown(result, result.majority),
        f"{result.n:,}",
    )


def shown(result: Result, value: float | None) -> str:
    """A value as it is shown: shares times 100, the rest as they are."""
    if value is None:
        return ""
    return f"{100 * value:.1f}" if result.metric in PERCENT else f"{value:.3f}"


def terminal_table(results: Iterable[Result], title: str) -> Table:
    """The figures as a table for a terminal."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 4 else "right", no_wrap=True)
    for result in results:
        table.add_row(*cells(result))
    return table


def markdown_table(results: Iterable[Result]) -> str:
    """The figures as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|---|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(cells(result)) + " |" for result in results]
    return "\n".join(lines) + "\n"


def write_results(results: Sequence[Result], folder: Path, title: str, facts: str) -> None:
    """Write `results.jsonl` and `results.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(result.as_json() + "\n" for result in results)
    (folder / "results.jsonl").write_text(lines, encoding="utf-8")
    text = f"# {title}\n\n{facts}\n\n{markdown_table(results)}"
    (folder / "results.md").write_text(text, encoding="utf-8")
