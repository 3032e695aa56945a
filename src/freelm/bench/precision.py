"""`freelm bench precision`: changed answers, speed and memory of other number types than fp32.

Every type judges the same rows of the same tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from freelm.api import FreeLM
from freelm.bench.machine import clock, peak_mb
from freelm.bench.runner import measure_in_process
from freelm.judge.probabilities import sigmoid
from freelm.judge.requests import Request
from freelm.tasks import Task, load_rows

REFERENCE = "fp32"

CALL = 128
"""Rows per call."""


@dataclass(frozen=True)
class PrecisionBench:
    """Settings of the benchmark.

    Attributes:
        model: Name of the model.
        tasks: Tasks; their report split is judged in the first training phrasing.
        dtypes: Some of `freelm.bench.runner.DTYPES`, to be compared with fp32.
        data_root: Where the rows are; None uses each task's files and the Hub.
        limit: Maximum number of rows per task.
        device: `cpu`, `cuda`, or one of several GPUs.
    """

    model: str
    tasks: Sequence[Task]
    dtypes: Sequence[str]
    data_root: Path | None = None
    limit: int = 500
    device: str = "cpu"


def run_precision_bench(bench: PrecisionBench) -> Iterator[dict[str, Any]]:
    """Measure fp32 and the other types on each task.

    Yields:
        Rows with `dtype, task, n, flips, max_abs_diff, mean_abs_diff, texts_per_s, peak_mb`: rows
        judged, answers that differ from those of fp32, differences of P(true) over all claims, and
        the peak memory (`machine.peak_mb`).
    """
    for task in bench.tasks:
        exact: dict[str, Any] | None = None
        for dtype in dict.fromkeys((REFERENCE, *bench.dtypes)):
            spec = {
                "model": bench.model,
                "task": str(task.path),
                "data_root": None if bench.data_root is None else str(bench.data_root),
                "limit": bench.limit,
                "dtype": dtype,
            }
            found = measure_in_process(__name__, spec, bench.device)
            exact = exact or found
            yield {
                "dtype": dtype,
                "task": task.name,
                "n": len(found["margins"]),
                **_differences(exact["margins"], found["margins"], _own_claim(task)),
                "texts_per_s": found["texts_per_s"],
                "peak_mb": found["peak_mb"],
            }


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Margins of all claims of all rows, speed and peak memory."""
    task = Task.from_file(spec["task"])
    root = None if spec["data_root"] is None else Path(spec["data_root"])
    rows = load_rows(task, task.report_split, root)
    examples = islice(rows.examples(task.training_phrasings[0]), spec["limit"])
    requests = [Request(example.context, example.claims) for example in examples]
    model = FreeLM.from_pretrained(spec["model"], dtype=spec["dtype"], device=spec["device"])
    model.judge_requests(requests[:1])
    begin = clock(spec["device"])
    judged = [
        answer
        for start in range(0, len(requests), CALL)
        for answer in model.judge_requests(requests[start : start + CALL])
    ]
    seconds = clock(spec["device"]) - begin
    return {
        "margins": [answer.margins.tolist() for answer in judged],
        "texts_per_s": len(requests) / seconds,
        "peak_mb": peak_mb(spec["device"]),
    }


def _own_claim(task: Task) -> int | None:
    """Index of the claim that decides a predicate; None where the most likely claim wins."""
    return list(task.label.ids).index("true") if task.question == "predicate" else None


def _differences(
    exact: list[list[float]], found: list[list[float]], own: int | None
) -> dict[str, Any]:
    off = [np.abs(sigmoid(a) - sigmoid(b)) for a, b in zip(exact, found, strict=True)]
    flips = sum(_answer(a, own) != _answer(b, own) for a, b in zip(exact, found, strict=True))
    every = np.concatenate(off)
    return {
        "flips": flips,
        "max_abs_diff": float(every.max()),
        "mean_abs_diff": float(every.mean()),
    }


def _answer(margins: list[float], own: int | None) -> int:
    return int(np.argmax(margins)) if own is None else int(margins[own] >= 0)
