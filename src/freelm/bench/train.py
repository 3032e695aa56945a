"""`freelm bench train`: steps of both signals beside the plain way, on the same rows.

    freelm           this package's training step: propositions of a row as one tree, no logits but
                     those of verdicts
    plain            transformers' Trainer: one padded sequence per proposition, its verdict as next
                     token
    freelm-compiled  as freelm, passes compiled (`train.compile`); only where it is named
    freelm-int8      as freelm-compiled, products with frozen weights rounded (`model.precision`);
                     only where it is named

Both train the same weights (an adapter, or all) of the same backbone with the same examples a step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from freelm.bench.process import measure_in_process, median
from freelm.bench.subjects import USUAL_SHAPE

SYSTEMS = ("freelm", "plain", "freelm-compiled", "freelm-int8")
USUAL = SYSTEMS[:2]
SIGNALS = ("teacher", "language")
WORKER = "freelm.bench.train_worker"


@dataclass(frozen=True)
class TrainBench:
    """What is measured.

    Attributes:
        systems: Which of `SYSTEMS`.
        precision: Compute type.
        examples: Rows (of a task with three labels) in a teacher step.
        tokens: Tokens computed at once; a GPU wants more of them than a CPU.
        steps: Steps that are timed, after one that is not.
        repeats: Processes per measurement; the median counts.
        device: `cpu`, `cuda`, or one of several GPUs; all systems run there.
        shape: Whose shape the backbone has, one of `subjects.SHAPES`.
        all_weights: Train all weights instead of an adapter.
    """

    systems: Sequence[str] = USUAL
    precision: str = "fp32"
    examples: int = 32
    tokens: int = 2048
    steps: int = 4
    repeats: int = 3
    device: str = "cpu"
    shape: str = USUAL_SHAPE
    all_weights: bool = False


def run_train_bench(bench: TrainBench) -> Iterator[dict[str, Any]]:
    """Measure both signals, all systems side by side.

    Yields:
        Rows with `system, signal, propositions_per_s, tokens_per_s, flops_fraction, peak_mb`.
        `tokens_per_s` leaves padding out. `flops_fraction` is the arithmetic that those
        tokens need (see `train_worker.flops_per_token`), outside the optimizer step, over the
        matrix products that the same process measured on the same device. `peak_mb` is the
        process's largest resident memory, on a GPU the most that its tensors took there
        (`torch.cuda.max_memory_allocated`).
    """
    for signal in SIGNALS:
        taken: dict[str, list[dict[str, Any]]] = {system: [] for system in bench.systems}
        for _ in range(bench.repeats):
            for system in bench.systems:
                spec = {
                    "system": system,
                    "signal": signal,
                    "precision": bench.precision,
                    "examples": bench.examples,
                    "tokens": bench.tokens,
                    "steps": bench.steps,
                    "shape": bench.shape,
                    "all_weights": bench.all_weights,
                }
                taken[system].append(measure_in_process(WORKER, spec, bench.device))
        for system, results in taken.items():
            keys = ("propositions_per_s", "tokens_per_s", "flops_fraction", "peak_mb")
            figures = {key: median(results, key) for key in keys}
            yield {"system": system, "signal": signal, **figures}
