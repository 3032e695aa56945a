"""A model as a standard Hugging Face folder, readable without FreeLM."""

from dataclasses import replace
from pathlib import Path

import jinja2

from freelm.errors import ModelError
from freelm.model.loading import load_model
from freelm.model.saving import ModelFacts, save_model


def write_stock(name: str, folder: Path) -> None:
    """Write a trained model with its adapter merged.

    `AutoModelForCausalLM` and `AutoTokenizer` read the folder; so does `FreeLM`. Its README.md
    shows a judgement in plain transformers.

    Args:
        name: A trained model: a folder or a release.
        folder: A new folder.

    Raises:
        ModelError: If the model does not exist or is untrained, or the folder exists.
    """
    if folder.exists():
        raise ModelError(f"{folder}: already exists; choose another folder")
    model = load_model(name)
    if model.facts.kind == "base":
        raise ModelError(f"{name}: is an untrained base; there is nothing to export")
    save_model(model.network, folder, replace(model.facts, kind="full"))
    (folder / "README.md").write_text(_readme(folder.name, model.facts), encoding="utf-8")


def _readme(name: str, facts: ModelFacts) -> str:
    """How to judge with plain transformers, for people who find the folder."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("freelm.export", "."), undefined=jinja2.StrictUndefined
    )
    return templates.get_template("README.md.j2").render(
        name=name, base=facts.base, temperature=facts.temperature
    )
