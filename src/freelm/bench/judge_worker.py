"""One measurement of `freelm bench judge`, in a process of its own."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from freelm.bench.judge import OURS
from freelm.bench.machine import peak_mb
from freelm.bench.peers import gliclass_pipeline, zero_shot_pipeline
from freelm.bench.process import repeat_for
from freelm.bench.subjects import backbone, freelm, labels_of, texts_of
from freelm.judge.questions import choice
from freelm.judge.requests import Request
from freelm.model.precision import weights_dtype
from freelm.tasks.forms import DEFAULT_TEMPLATE

TEXTS = 8
"""Texts in a call; a call with very many labels takes fewer."""

LONG_CALL = 4
"""A first call of so many measuring times is the measurement: what it warms up is little of it."""

Ask = Callable[[list[str], list[str]], list[list[float]] | None]
"""Asks which of some labels fits each of some texts; gives margins, if it has any."""


def ask_freelm(system: str, dtype: str, device: str) -> tuple[Any, Ask]:
    """A FreeLM, and how it is asked: all propositions of a text together, or each alone."""
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


def ask_peer(system: str, dtype: str, device: str) -> tuple[Any, Ask]:
    """A peer's pipeline, and how it is asked."""
    make = zero_shot_pipeline if system == "hf-pipeline" else gliclass_pipeline
    classify = make(weights_dtype(dtype, torch.device(device)), device)

    def ask(texts: list[str], labels: list[str]) -> None:
        classify(texts, labels)

    return backbone(torch.float32).tokenizer, ask


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Of each number of labels: speed, peak memory so far and (of FreeLM's own systems) margins."""
    make = ask_freelm if spec["system"] in OURS else ask_peer
    tokenizer, ask = make(spec["system"], spec["dtype"], spec["device"])
    texts = texts_of(tokenizer, spec["text_tokens"], TEXTS)
    seconds, device = spec["seconds"], spec["device"]
    return {"by_labels": [_measure(ask, texts, n, seconds, device) for n in spec["labels"]]}


def _measure(
    ask: Ask, texts: list[str], num_labels: int, seconds: float, device: str
) -> dict[str, Any]:
    # Answers are numbers in Python, so that a GPU has nothing left to do when they are there.
    labels = labels_of(num_labels)
    begin = time.perf_counter()
    margins = ask(texts[:1], labels)
    once = time.perf_counter() - begin
    if once > LONG_CALL * seconds:
        texts_per_s = 1 / once
    else:
        count = TEXTS if once * TEXTS < seconds else 1
        texts_per_s = count / repeat_for(lambda: ask(texts[:count], labels), seconds)
    return {
        "texts_per_s": texts_per_s,
        "peak_mb": peak_mb(device),
        "margins": margins,
    }


if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps(measure(json.loads(sys.argv[1]))))
