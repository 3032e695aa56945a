"""A model as a stock Hugging Face folder: all weights, readable without this program."""

from dataclasses import replace
from pathlib import Path

from freelm.errors import ModelError
from freelm.model.loading import load_model
from freelm.model.saving import save_model


def write_stock(name: str, folder: Path) -> None:
    """Write a trained model with its adapter merged.

    `AutoModelForCausalLM` and `AutoTokenizer` read the folder; so does `FreeLM`.

    Args:
        name: A trained model: a folder or a release.
        folder: Where to; it must not be there yet.

    Raises:
        ModelError: If there is no such model, it was never trained, or the folder is there.
    """
    if folder.exists():
        raise ModelError(f"{folder}: is there already; choose another folder")
    model = load_model(name)
    if model.facts.kind == "base":
        raise ModelError(f"{name}: is an untrained base, which has nothing to export")
    save_model(model.network, folder, replace(model.facts, kind="full"))
