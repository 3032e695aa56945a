"""The network of a run, built from its configuration."""

from collections.abc import Iterable
from pathlib import Path

import torch

from freelm.config import ModelConfig
from freelm.errors import ModelError
from freelm.model.adapters import add_lora, load_adapter_weights
from freelm.model.bases import Base, load_base
from freelm.model.compute.attention import use_eager_attention
from freelm.model.compute.device import find_device
from freelm.model.compute.int8 import quantize_frozen_layers
from freelm.model.compute.precision import check_int8_units
from freelm.model.compute.threads import apply_threads
from freelm.model.markers import MarkerRows, add_markers
from freelm.model.network import FreeLMNetwork
from freelm.model.releases import own_folder
from freelm.model.saving import read_facts
from freelm.model.scratch import build_scratch


def build_network(
    config: ModelConfig, texts: Iterable[str], seed: int
) -> tuple[FreeLMNetwork, Base]:
    """Load or create a base, add the markers and, if configured, an adapter.

    Frozen weights of an adapted base have the compute type, or an additional rounded copy; trained
    weights are always fp32.

    Args:
        config: The model section of the configuration.
        texts: Texts for training a tokenizer from scratch.
        seed: Seed of random weights.

    Raises:
        ModelError: If the base, or the adapter to start from, cannot be loaded or does not
            fit, or the machine lacks the compute type.
    """
    apply_threads()
    if config.precision == "int8":
        check_int8_units(find_device(None))
    torch.manual_seed(seed)
    if config.scratch is not None:
        base = build_scratch(config.scratch, texts, seed)
    else:
        assert config.base is not None
        base = load_base(config.base, base_dtype(config))
    return assemble_network(base, config, seed), base


def base_dtype(config: ModelConfig) -> torch.dtype:
    """Type that a base is loaded in: bf16 if its weights are frozen and computed in bf16."""
    frozen_bf16 = config.lora is not None and config.precision == "bf16"
    return torch.bfloat16 if frozen_bf16 else torch.float32


def assemble_network(base: Base, config: ModelConfig, seed: int) -> FreeLMNetwork:
    """Add the markers to a base and, if configured, an adapter.

    Args:
        base: A model and its tokenizer; both are changed.
        config: The model section of the configuration.
        seed: Seed of the adapter's weights.

    Raises:
        ModelError: If the adapter to start from does not fit.
    """
    form = add_markers(base.model, base.tokenizer)
    if config.precision == "bf16" and find_device(None).type == "cpu":
        use_eager_attention(base.model)
    if config.lora is None:
        return FreeLMNetwork(base.model, form)
    rows = MarkerRows(base.model, base.tokenizer)
    torch.manual_seed(seed)
    adapted = add_lora(base.model, config.lora)
    if config.lora.start is not None:
        start = own_folder(config.lora.start)
        _check_start(start, base)
        load_adapter_weights(adapted, rows, start)
    if config.precision == "int8":
        quantize_frozen_layers(adapted)
    return FreeLMNetwork(adapted, form, rows)


def _check_start(folder: Path, base: Base) -> None:
    facts = read_facts(folder)
    if facts.kind != "adapter":
        raise ModelError(f"{folder}: has no adapter to start from; give the folder as model.base")
    if facts.base_checksum != base.checksum:
        raise ModelError(f"{folder}: was trained on {facts.base!r}, not on {base.name!r}")
