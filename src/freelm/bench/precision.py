"""`freelm bench precision`: what a type of numbers costs in answers, and gains in speed and memory.

Every type judges the same rows of the same tasks; what it says is compared with what fp32 says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freelm.bench.process import measure_in_process
from freelm.judge.probabilities import sigmoid
from freelm.tasks import Task

REFERENCE = "fp32"
WORKER = "freelm.bench.precision_worker"


@dataclass(frozen=True)
class PrecisionBench:
    """What is measured.

    Attributes:
        model: Name of the model.
        tasks: Tasks whose report split is judged, in the first training phrasing.
        dtypes: Those of `freelm.bench.process.DTYPES` that are compared with fp32.
        data_root: Where the rows are; None asks each task's files and the Hub.
        limit: Rows of a task at most.
        device: `cpu`, `cuda`, or one of several GPUs.
    """

    model: str
    tasks: Sequence[Task]
    dtypes: Sequence[str]
    data_root: Path | None = None
    limit: int = 500
    device: str = "cpu"


def run_precision_bench(bench: PrecisionBench) -> Iterator[dict[str, Any]]:
    """Measure, task by task, fp32 and then the others.

    Yields:
        Rows with `dtype, task, n, flips, max_abs_diff, mean_abs_diff, texts_per_s, peak_mb`: rows
        judged, answers that differ from those of fp32, and differences of P(true) over all claims.
        `peak_mb` is the process's largest resident memory, on a GPU the most that its tensors took
        there (`torch.cuda.max_memory_allocated`).
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
            found = measure_in_process(WORKER, spec, bench.device)
            exact = exact or found
            yield {
                "dtype": dtype,
                "task": task.name,
                "n": len(found["margins"]),
                **_differences(exact["margins"], found["margins"], _own_claim(task)),
                "texts_per_s": found["texts_per_s"],
                "peak_mb": found["peak_mb"],
            }


def _own_claim(task: Task) -> int | None:
    """The place of the claim that a predicate is true by; None where the likeliest claim wins."""
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
