"""A tiny trained adapter, as releases are made of."""

from pathlib import Path

import pytest
import torch

from freelm.config import LoraSettings
from freelm.data.packing import build_tree, collate
from freelm.model.adapters import add_lora
from freelm.model.bases import load_base
from freelm.model.markers import MarkerRows, add_markers, marker_ids
from freelm.model.network import FreeLMNetwork
from freelm.model.saving import ModelFacts, save_model


def verdicts(network: FreeLMNetwork) -> torch.Tensor:
    form = network.form
    claims = [form.claim(f"It is {word}.") for word in ("true", "false", "there")]
    with torch.no_grad():
        return network.margins(collate([build_tree(form.context(("A.",)).ids, claims)], [[0]]))


@pytest.fixture
def trained(tiny_base_folder: Path, tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A model folder with an adapter that has learned something, and its verdicts."""
    base = load_base(str(tiny_base_folder))
    form = add_markers(base.model, base.tokenizer)
    rows = MarkerRows(base.model, base.tokenizer)
    network = FreeLMNetwork(add_lora(base.model, LoraSettings(rank=4)), form, rows).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    markers = marker_ids(network.tokenizer)
    facts = ModelFacts("adapter", str(tiny_base_folder), None, markers, temperature=1.5)
    save_model(network, tmp_path / "model", facts)
    return tmp_path / "model", verdicts(network)
