"""`freelm bench memory`: peak memory while judging many rows, and many labels.

rows    a file with that many rows is judged from disk to disk, two labels each
labels  one text is judged by more and more labels

Memory that is bounded by the token budget does not grow from point to point.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.bench.machine import peak_mb
from freelm.bench.runner import measure_in_process
from freelm.bench.subjects import freelm, labels_of, texts_of
from freelm.files.columns import AnswerColumns
from freelm.files.job import FileJob
from freelm.files.run import judge_file
from freelm.judge.questions import choice

CASES = ("rows", "labels")
SHARES = (0.01, 0.1, 1.0)
"""Parts of the work after which the peak is read."""

FEW_LABELS = 2

DIFFERENT_TEXTS = 64
"""Texts that the rows of a file are made of, each preceded by its own number."""


@dataclass(frozen=True)
class MemoryBench:
    """Settings of the benchmark.

    Attributes:
        rows: Rows of the file.
        labels: Labels of the one text.
        text_tokens: Approximate tokens per text.
        dtypes: Some of `freelm.bench.runner.DTYPES`.
        cases: Some of `CASES`.
        device: `cpu`, `cuda`, or one of several GPUs.
    """

    rows: int = 100_000
    labels: int = 1000
    text_tokens: int = 16
    dtypes: Sequence[str] = ("fp32", "bf16")
    cases: Sequence[str] = CASES
    device: str = "cpu"


def run_memory_bench(bench: MemoryBench) -> Iterator[dict[str, Any]]:
    """Measure each case and type in its own process.

    Yields:
        Rows with `case, rows, labels, dtype, peak_mb`: the peak (`machine.peak_mb`) until that many
        rows, or labels of the one text, were judged.
    """
    for dtype, case in product(bench.dtypes, bench.cases):
        total = bench.rows if case == "rows" else bench.labels
        points = sorted({max(FEW_LABELS, round(share * total)) for share in SHARES})
        spec = {"case": case, "points": points, "dtype": dtype, "text_tokens": bench.text_tokens}
        peaks = measure_in_process(__name__, spec, bench.device)["peak_mb"]
        for point, peak in zip(points, peaks, strict=True):
            rows, labels = (point, FEW_LABELS) if case == "rows" else (1, point)
            yield {"case": case, "rows": rows, "labels": labels, "dtype": dtype, "peak_mb": peak}


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """The peaks at the points of a case."""
    peaks = {"rows": _peaks_over_rows, "labels": _peaks_over_labels}[spec["case"]]
    model = freelm(spec["dtype"], spec["device"])
    return {"peak_mb": peaks(model, spec["points"], spec["text_tokens"])}


def _peaks_over_rows(model: FreeLM, points: Sequence[int], text_tokens: int) -> list[float]:
    """Peak memory (MB) after each number of rows of one file."""
    texts = texts_of(model.model.network.tokenizer, text_tokens, DIFFERENT_TEXTS)
    peaks: list[float] = []

    def note(done: int, total: int) -> None:
        while len(peaks) < len(points) - 1 and done >= points[len(peaks)]:
            peaks.append(_peak(model))

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for number in range(points[-1]):
                text = f"{number + 1}. {texts[number % len(texts)]}"
                file.write(json.dumps({"text": text}) + "\n")
        job = FileJob(source, "text", AnswerColumns.of_question(choice(labels_of(FEW_LABELS))))
        judge_file(job, model, {}, Path(folder) / "answers.csv", progress=note)
    return [*peaks, _peak(model)]  # the last includes writing the output


def _peaks_over_labels(model: FreeLM, points: Sequence[int], text_tokens: int) -> list[float]:
    """Peak memory (MB) after judging one text by each number of labels."""
    (text,) = texts_of(model.model.network.tokenizer, text_tokens, 1)
    peaks = []
    for count in points:
        model.classify(text, labels_of(count))
        peaks.append(_peak(model))
    return peaks


def _peak(model: FreeLM) -> float:
    return peak_mb(model.model.network.device.type)
