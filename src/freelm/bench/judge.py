"""`freelm bench judge`: texts per second of zero-shot classification, by number of labels.

freelm           this package: a text and all labels in one pass
single           the same model, one proposition per pass
hf-pipeline      transformers' zero-shot-classification pipeline on the same backbone
gliclass         GLiClass's own pipeline on a random model of gliclass-base's shape
freelm-compiled  as freelm, with torch.compile; only on request
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from freelm.bench.machine import peak_mb
from freelm.bench.peers import gliclass_pipeline, zero_shot_pipeline
from freelm.bench.runner import measure_in_process, median, repeat_for
from freelm.bench.subjects import backbone, freelm, labels_of, texts_of
from freelm.judge.questions import choice
from freelm.judge.requests import Request
from freelm.model.compute.precision import weights_dtype
from freelm.tasks.forms import DEFAULT_TEMPLATE

SYSTEMS = ("freelm", "single", "hf-pipeline", "gliclass", "freelm-compiled")
USUAL = SYSTEMS[:4]
OURS = ("freelm", "single", "freelm-compiled")

TEXTS = 8
"""Texts per call; calls with very many labels take one."""

LONG_CALL = 4
"""A first call that takes this many times the measuring time is the measurement itself."""

Ask = Callable[[list[str], list[str]], list[list[float]] | None]
"""Classifies texts with labels; returns the margins, if the system has any."""


@dataclass(frozen=True)
class JudgeBench:
    """Settings of the benchmark.

    Attributes:
        systems: Some of `SYSTEMS`.
        labels: Numbers of labels.
        text_tokens: Lengths of texts.
        dtypes: Some of `freelm.bench.runner.DTYPES`.
        repeats: Processes per system, text length and type; the median counts.
        seconds: Measuring time per number of labels.
        device: `cpu`, `cuda`, or one of several GPUs.
    """

    systems: Sequence[str] = USUAL
    labels: Sequence[int] = (1, 4, 16, 64, 128)
    text_tokens: Sequence[int] = (50, 200)
    dtypes: Sequence[str] = ("fp32", "bf16")
    repeats: int = 3
    seconds: float = 3.0
    device: str = "cpu"


def run_judge_bench(bench: JudgeBench) -> Iterator[dict[str, Any]]:
    """Measure all systems for each text length and type.

    A process takes the numbers of labels in rising order, so that each peak of memory belongs to
    its number.

    Yields:
        Rows with `system, labels, text_tokens, dtype, texts_per_s, peak_mb, max_abs_diff`; for
        `peak_mb` see `machine.peak_mb`. The last is the largest difference of a margin from that of
        `single`, None for systems with other weights.
    """
    labels = sorted(set(bench.labels))
    for tokens, dtype in product(bench.text_tokens, bench.dtypes):
        # The systems take turns, so that a slow minute of the machine affects all of them. The
        # peers have no int8.
        systems = [name for name in bench.systems if name in OURS or dtype != "int8"]
        runs: dict[str, list[list[dict[str, Any]]]] = {system: [] for system in systems}
        setting = {"text_tokens": tokens, "dtype": dtype}
        for _ in range(bench.repeats):
            for system in systems:
                spec = {"system": system, "labels": labels, "seconds": bench.seconds, **setting}
                runs[system].append(measure_in_process(__name__, spec, bench.device)["by_labels"])
        for place, count in enumerate(labels):
            here = {name: [run[place] for run in own] for name, own in runs.items()}
            for system, results in here.items():
                yield {
                    "system": system,
                    "labels": count,
                    **setting,
                    "texts_per_s": median(results, "texts_per_s"),
                    "peak_mb": median(results, "peak_mb"),
                    "max_abs_diff": _difference(results, here.get("single", [])),
                }


def _difference(results: list[dict[str, Any]], single: list[dict[str, Any]]) -> float | None:
    if not single or results[0]["margins"] is None:
        return None
    return float(np.abs(np.subtract(results[0]["margins"], single[0]["margins"])).max())


@torch.inference_mode()
def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """For each number of labels: speed, peak memory so far and, for our systems, margins."""
    make = _freelm_system if spec["system"] in OURS else _peer
    tokenizer, ask = make(spec["system"], spec["dtype"], spec["device"])
    texts = texts_of(tokenizer, spec["text_tokens"], TEXTS)
    seconds, device = spec["seconds"], spec["device"]
    return {"by_labels": [_measure(ask, texts, n, seconds, device) for n in spec["labels"]]}


def _freelm_system(system: str, dtype: str, device: str) -> tuple[Any, Ask]:
    """A FreeLM's tokenizer, and how to ask it: all claims of a text at once, or one by one."""
    model = freelm(dtype, device, compiled=system == "freelm-compiled")

    def ask(texts: list[str], labels: list[str]) -> list[list[float]]:
        claims = choice(labels).claims if len(labels) > 1 else (DEFAULT_TEMPLATE.format(*labels),)
        if system != "single":
            judged = model.judge_requests([Request((text,), claims) for text in texts])
            return [one.margins.tolist() for one in judged]
        return [
            [float(model.judge_requests([Request((text,), (c,))])[0].margins[0]) for c in claims]
            for text in texts
        ]

    return model.model.network.tokenizer, ask


def _peer(system: str, dtype: str, device: str) -> tuple[Any, Ask]:
    make = zero_shot_pipeline if system == "hf-pipeline" else gliclass_pipeline
    classify = make(weights_dtype(dtype, torch.device(device)), device)

    def ask(texts: list[str], labels: list[str]) -> None:
        classify(texts, labels)

    return backbone(torch.float32).tokenizer, ask


def _measure(
    ask: Ask, texts: list[str], num_labels: int, seconds: float, device: str
) -> dict[str, Any]:
    # Answers are Python numbers, so a GPU has finished when they are there.
    labels = labels_of(num_labels)
    begin = time.perf_counter()
    margins = ask(texts[:1], labels)
    once = time.perf_counter() - begin
    if once > LONG_CALL * seconds:
        texts_per_s = 1 / once
    else:
        count = TEXTS if once * TEXTS < seconds else 1
        texts_per_s = count / repeat_for(lambda: ask(texts[:count], labels), seconds)
    return {"texts_per_s": texts_per_s, "peak_mb": peak_mb(device), "margins": margins}
