"""One measurement of `freelm bench judge`, in a process of its own."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from freelm.bench.judge import OURS
from freelm.bench.peers import gliclass_pipeline, zero_shot_pipeline
from freelm.bench.process import repeat_for
from freelm.bench.subjects import backbone, freelm, labels_of, texts_of
from freelm.inference.engine import Request
from freelm.inference.questions import DEFAULT_TEMPLATE, choice
from freelm.memory import peak_memory_gb
from freelm.model.precision import weights_dtype

TEXTS = 8
"""Texts in a call; a call with very many labels takes fewer."""

Ask = Callable[[list[str]], list[list[float]] | None]


def ask_freelm(system: str, dtype: str, labels: list[str]) -> tuple[Any, Ask]:
    """A FreeLM, and how it is asked: all propositions of a text together, or each alone."""
    model = freelm(dtype, compiled=system == "freelm-compiled")
    claims = choice(labels).claims if len(labels) > 1 else (DEFAULT_TEMPLATE.format(labels[0]),)

    def ask(texts: list[str]) -> list[list[float]]:
        if system != "single":
            judged = model.judge_requests([Request((text,), claims) for text in texts])
            return [one.margins.tolist() for one in judged]
        return [
            [float(model.judge_requests([Request((text,), (c,))])[0].margins[0]) for c in claims]
            for text in texts
        ]

    return model.model.network.tokenizer, ask


def ask_peer(system: str, dtype: str, labels: list[str]) -> tuple[Any, Ask]:
    """A peer's pipeline, and how it is asked."""
    make = zero_shot_pipeline if system == "hf-pipeline" else gliclass_pipeline
    classify = make(weights_dtype(dtype, torch.device("cpu")))

    def ask(texts: list[str]) -> None:
        classify(texts, labels)

    return backbone(torch.float32).tokenizer, ask


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Speed, peak memory and (of FreeLM's own systems) margins."""
    labels = labels_of(spec["labels"])
    make = ask_freelm if spec["system"] in OURS else ask_peer
    tokenizer, ask = make(spec["system"], spec["dtype"], labels)
    texts = texts_of(tokenizer, spec["text_tokens"], TEXTS)
    begin = time.perf_counter()
    margins = ask(texts[:1])
    once = time.perf_counter() - begin
    count = TEXTS if once * TEXTS < spec["seconds"] else 1
    per_call = repeat_for(lambda: ask(texts[:count]), spec["seconds"])
    return {
        "texts_per_s": count / per_call,
        "peak_mb": peak_memory_gb() * 1e3,
        "margins": margins,
    }


if __name__ == "__main__":
    with torch.inference_mode():
        print(json.dumps(measure(json.loads(sys.argv[1]))))
