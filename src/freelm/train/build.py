"""The network of a run, built from its configuration."""

from collections.abc import Iterable

import torch

from freelm.config import ModelConfig
from freelm.model.adapters import add_lora
from freelm.model.bases import Base, load_base
from freelm.model.markers import MarkerRows, add_markers
from freelm.model.network import FreeLMNetwork
from freelm.model.scratch import build_scratch


def build_network(
    config: ModelConfig, texts: Iterable[str], seed: int
) -> tuple[FreeLMNetwork, Base]:
    """Load or make a base, add the markers and, if asked for, an adapter.

    Frozen weights of an adapted base are held in the compute type; trained ones always in fp32.

    Args:
        config: What is trained.
        texts: What a tokenizer from scratch is trained on.
        seed: Seed of random weights.
    """
    torch.manual_seed(seed)
    if config.scratch is not None:
        base = build_scratch(config.scratch, texts, seed)
    else:
        assert config.base is not None
        frozen_bf16 = config.lora is not None and config.precision == "bf16"
        base = load_base(config.base, torch.bfloat16 if frozen_bf16 else torch.float32)
    form = add_markers(base.model, base.tokenizer)
    if config.lora is None:
        return FreeLMNetwork(base.model, form), base
    rows = MarkerRows(base.model, base.tokenizer)
    torch.manual_seed(seed)
    return FreeLMNetwork(add_lora(base.model, config.lora), form, rows), base
