"""Models with the shapes of published ones, texts of a given length, and labels to measure with."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig

from freelm.api import FreeLM
from freelm.data.tokens import encode_text
from freelm.judge.engine import Judge
from freelm.miniworld.documents import documents
from freelm.model.bases import Base, base_folder, load_base
from freelm.model.compute.compiling import compile_network
from freelm.model.compute.int8 import quantize_linear_layers
from freelm.model.compute.precision import weights_dtype
from freelm.model.loading import LoadedModel
from freelm.model.markers import add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import ModelFacts
from freelm.model.scratch import train_tokenizer

BASE = "base/smollm2-135m"

USUAL_SHAPE = "smollm2-135m"


def _smollm2(hidden: int, inner: int, layers: int, heads: int, key_value_heads: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
    )


SHAPES: dict[str, PretrainedConfig] = {
    USUAL_SHAPE: _smollm2(576, 1536, 30, 9, 3),
    "smollm2-360m": _smollm2(960, 2560, 32, 15, 5),
    "gpt2-medium": GPT2Config(n_embd=1024, n_layer=24, n_head=16),
}
"""Name -> configuration of that model. Speed does not depend on the weights, which are random if
the base is not available."""


def backbone(dtype: torch.dtype, shape: str = USUAL_SHAPE) -> Base:
    """The base, or random weights if it was not downloaded or has another shape.

    Args:
        dtype: Of the weights.
        shape: One of `SHAPES`; the base has the usual one.
    """
    if shape == USUAL_SHAPE and (base_folder(BASE) / "hf" / "config.json").is_file():
        return load_base(BASE, dtype)
    torch.manual_seed(0)
    tokenizer = train_tokenizer(documents("train", 200, 0), 2000)
    model: Any = AutoModelForCausalLM.from_config(SHAPES[shape])
    return Base(model.to(dtype), tokenizer, "random", None)


def freelm(dtype: str, device: str, compiled: bool = False) -> FreeLM:
    """A FreeLM on the usual backbone.

    Args:
        dtype: `fp32`, `bf16` or `int8`.
        device: `cpu` or `cuda`.
        compiled: Compile it with `torch.compile`.
    """
    base = backbone(weights_dtype(dtype, torch.device(device)))
    form = add_markers(base.model, base.tokenizer)
    network = FreeLMNetwork(base.model, form).eval().to(device)
    if dtype == "int8":
        quantize_linear_layers(network.causal.base_model)
    if compiled:
        compile_network(network)
    facts = ModelFacts("full", None, None, marker_ids(base.tokenizer))
    loaded = LoadedModel(network, facts, base.name)
    return FreeLM(loaded, Judge(loaded))


def texts_of(tokenizer: Any, num_tokens: int, count: int) -> list[str]:
    """Different texts of about `num_tokens` tokens, from the miniworld's stories."""
    stream: list[int] = []
    while len(stream) < count * num_tokens:
        for document in documents("test", 50, len(stream)):
            stream += encode_text(tokenizer, document + " ")
    pieces = [stream[i * num_tokens : (i + 1) * num_tokens] for i in range(count)]
    return [tokenizer.decode(piece) for piece in pieces]


def labels_of(count: int) -> list[str]:
    """Different labels of one to three words."""
    fields = ("sport", "law", "music", "travel", "food", "health", "science", "money")
    kinds = ("news", "questions", "complaints", "advice", "history", "events", "prices", "people")
    return [
        f"{fields[i % 8]} {kinds[i // 8 % 8]}" + (f" {i // 64 + 1}" if i >= 64 else "")
        for i in range(count)
    ]
