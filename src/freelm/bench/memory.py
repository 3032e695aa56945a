"""`freelm bench memory`: peak memory on the way through many rows, and through many labels.

rows    a file of that many rows is judged from disk to disk, two labels each
labels  one text is judged by more and more labels

Memory that is bounded by the token budget does not grow from point to point.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from freelm.bench.process import measure_in_process

CASES = ("rows", "labels")
SHARES = (0.01, 0.1, 1.0)
"""Parts of the work after which the peak is read."""

FEW_LABELS = 2
WORKER = "freelm.bench.memory_worker"


@dataclass(frozen=True)
class MemoryBench:
    """What is measured.

    Attributes:
        rows: Rows of the file.
        labels: Labels of the one text.
        text_tokens: About how many tokens each text has.
        dtypes: Which of `freelm.bench.process.DTYPES`.
        cases: Which of `CASES`.
        device: `cpu`, `cuda`, or one of several GPUs.
    """

    rows: int = 100_000
    labels: int = 1000
    text_tokens: int = 16
    dtypes: Sequence[str] = ("fp32", "bf16")
    cases: Sequence[str] = CASES
    device: str = "cpu"


def run_memory_bench(bench: MemoryBench) -> Iterator[dict[str, Any]]:
    """Measure, a process for each case and type.

    Yields:
        Rows with `case, rows, labels, dtype, peak_mb`: the largest resident memory of the process
        until that many rows, or labels of the one text, were judged; on a GPU the most that its
        tensors took there (`torch.cuda.max_memory_allocated`).
    """
    for dtype, case in product(bench.dtypes, bench.cases):
        total = bench.rows if case == "rows" else bench.labels
        points = sorted({max(FEW_LABELS, round(share * total)) for share in SHARES})
        spec = {
            "case": case,
            "points": points,
            "dtype": dtype,
            "text_tokens": bench.text_tokens,
        }
        peaks = measure_in_process(WORKER, spec, bench.device)["peak_mb"]
        for point, peak in zip(points, peaks, strict=True):
            rows, labels = (point, FEW_LABELS) if case == "rows" else (1, point)
            yield {"case": case, "rows": rows, "labels": labels, "dtype": dtype, "peak_mb": peak}
