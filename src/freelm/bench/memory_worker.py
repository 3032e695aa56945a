"""One measurement of `freelm bench memory`, in a process of its own."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.bench.machine import peak_mb
from freelm.bench.memory import FEW_LABELS
from freelm.bench.subjects import freelm, labels_of, texts_of
from freelm.files.columns import AnswerColumns
from freelm.files.job import FileJob
from freelm.files.run import judge_file
from freelm.judge.questions import choice

DIFFERENT_TEXTS = 64
"""Texts that the rows of a file are made of, each with a number of its own before it."""


def peaks_over_rows(model: FreeLM, points: Sequence[int], text_tokens: int) -> list[float]:
    """Peak memory (MB) after so many rows of one file, which is as long as the last of them."""
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
    return [*peaks, _peak(model)]  # the last one with the output put together


def peaks_over_labels(model: FreeLM, points: Sequence[int], text_tokens: int) -> list[float]:
    """Peak memory (MB) after judging one text by so many labels, by more of them each time."""
    (text,) = texts_of(model.model.network.tokenizer, text_tokens, 1)
    peaks = []
    for count in points:
        model.classify(text, labels_of(count))
        peaks.append(_peak(model))
    return peaks


def _peak(model: FreeLM) -> float:
    return peak_mb(model.model.network.device.type)


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """The peaks at the points of a case."""
    peaks = {"rows": peaks_over_rows, "labels": peaks_over_labels}[spec["case"]]
    model = freelm(spec["dtype"], spec["device"])
    return {"peak_mb": peaks(model, spec["points"], spec["text_tokens"])}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
