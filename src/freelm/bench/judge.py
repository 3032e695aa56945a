"""`freelm bench judge`: texts per second of zero-shot classification, by number of labels.

freelm           this package: a text and all labels in one pass
single           the same model, one proposition a pass
hf-pipeline      transformers' zero-shot-classification pipeline on the same backbone
gliclass         GLiClass's own pipeline on a random model of gliclass-base's shape
freelm-compiled  as freelm, the model compiled with torch.compile; only where it is named
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from freelm.bench.process import measure_in_process, median

SYSTEMS = ("freelm", "single", "hf-pipeline", "gliclass", "freelm-compiled")
USUAL = SYSTEMS[:4]
OURS = ("freelm", "single", "freelm-compiled")

WORKER = "freelm.bench.judge_worker"


@dataclass(frozen=True)
class JudgeBench:
    """What is measured.

    Attributes:
        systems: Which of `SYSTEMS`.
        labels: Numbers of labels.
        text_tokens: Lengths of texts.
        dtypes: Which of `freelm.bench.process.DTYPES`.
        repeats: Processes per system, text length and type; the median counts.
        seconds: Measuring time of each number of labels.
        device: `cpu`, `cuda`, or one of several GPUs; all systems run there.
    """

    systems: Sequence[str] = USUAL
    labels: Sequence[int] = (1, 4, 16, 64, 128)
    text_tokens: Sequence[int] = (50, 200)
    dtypes: Sequence[str] = ("fp32", "bf16")
    repeats: int = 3
    seconds: float = 3.0
    device: str = "cpu"


def run_judge_bench(bench: JudgeBench) -> Iterator[dict[str, Any]]:
    """Measure, length by length and type by type, all systems side by side.

    A process takes the numbers of labels in rising order, so that the peak of its memory at one of
    them is that number's own.

    Yields:
        Rows with `system, labels, text_tokens, dtype, texts_per_s, peak_mb, max_abs_diff`.
        `peak_mb` is the process's largest resident memory, on a GPU the most that its tensors took
        there (`torch.cuda.max_memory_allocated`). The last is the largest difference of a margin
        from the one that `single` gives, None for systems with other weights.
    """
    labels = sorted(set(bench.labels))
    for tokens, dtype in product(bench.text_tokens, bench.dtypes):
        # One after another and round again, so that a slow minute of the machine hits all alike.
        # Peers bring no int8 of their own.
        systems = [name for name in bench.systems if name in OURS or dtype != "int8"]
        taken: dict[str, list[list[dict[str, Any]]]] = {system: [] for system in systems}
        for _ in range(bench.repeats):
            for system in systems:
                spec = {
                    "system": system,
                    "labels": labels,
                    "text_tokens": tokens,
                    "dtype": dtype,
                    "seconds": bench.seconds,
                }
                found = measure_in_process(WORKER, spec, bench.device)
                taken[system].append(found["by_labels"])
        for place, count in enumerate(labels):
            here = {name: [run[place] for run in runs] for name, runs in taken.items()}
            for system, results in here.items():
                yield {
                    "system": system,
                    "labels": count,
                    "text_tokens": tokens,
                    "dtype": dtype,
                    "texts_per_s": median(results, "texts_per_s"),
                    "peak_mb": median(results, "peak_mb"),
                    "max_abs_diff": _difference(results, here.get("single", [])),
                }


def _difference(results: list[dict[str, Any]], single: list[dict[str, Any]]) -> float | None:
    if not single or results[0]["margins"] is None:
        return None
    return float(np.abs(np.subtract(results[0]["margins"], single[0]["margins"])).max())
