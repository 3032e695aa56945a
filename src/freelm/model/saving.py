"""Saved models: a folder with `freelm.json`, the tokenizer and either all weights or an adapter.

Everything is safetensors or JSON, so that loading never runs code. A model with all weights is a
stock Hugging Face folder; one with an adapter names its base and the base's checksum.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from freelm.errors import ModelError, describe_validation
from freelm.io.atomic import apply_umask, atomic_write
from freelm.model.adapters import merge_adapter, save_adapter
from freelm.model.bases import load_base, quiet, read_model
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature
from freelm.model.folder_checks import check_folder, read_json_object
from freelm.model.markers import add_markers, marker_ids
from freelm.model.network import FreeLMNetwork

FACTS_FILE = "freelm.json"
FORMAT = 1


@dataclass(frozen=True)
class ModelFacts:
    """What `freelm.json` says about a model.

    Attributes:
        kind: `full` (all weights) or `adapter` (LoRA on a base).
        base: Name of the base, None when trained from scratch.
        base_checksum: SHA-256 of the base's file where it has one.
        markers: Marker -> token id.
        temperature: Verdict margins are divided by this.
        choice_temperature: Where claims compete as options, their calibrated margins are divided
            by this, too.
        max_context_tokens: Length that contexts were cut to in training.
        record: What the model was trained on: tasks, families, rows, tokens, seed, code version.
        results: Of a release: its main figures.
        format: Version of this layout.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: Literal["full", "adapter", "base"]
    base: str | None
    base_checksum: str | None
    markers: dict[str, Annotated[int, Field(ge=0)]]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    choice_temperature: ChoiceTemperature = NO_CHANGE
    max_context_tokens: Annotated[int, Field(ge=1, le=2**24)] = 256
    record: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    format: int = FORMAT


_FACTS = TypeAdapter(ModelFacts)


def save_model(network: FreeLMNetwork, folder: Path, facts: ModelFacts) -> None:
    """Write a model folder.

    Args:
        network: A trained network; with a peft adapter only the adapter is stored.
        folder: Where to; files of a model that is there are replaced.
        facts: Goes into `freelm.json`, written last, so that a half-written folder is no model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).unlink(missing_ok=True)
    network.tokenizer.save_pretrained(folder)
    if network.rows is None:
        with quiet():
            network.model.save_pretrained(folder)
    else:
        save_adapter(network.model, network.rows, folder)
    apply_umask(folder)
    write_facts(folder, facts)


def write_facts(folder: Path, facts: ModelFacts) -> None:
    """Write `freelm.json`, or replace it in one step.

    Raises:
        OSError: If it cannot be written.
    """
    atomic_write(folder / FACTS_FILE, json.dumps(asdict(facts), indent=1) + "\n")


def read_facts(folder: Path) -> ModelFacts:
    """Read `freelm.json`.

    Raises:
        ModelError: If it is damaged, has a value out of range, or is of a newer format.
    """
    path = folder / FACTS_FILE
    facts = read_json_object(path)
    if facts.get("format", FORMAT) != FORMAT:
        raise ModelError(f"{folder}: is of format {facts['format']}, this program reads {FORMAT}")
    try:
        return _FACTS.validate_python(facts)
    except ValidationError as error:
        raise ModelError(f"{path}: cannot be read ({describe_validation(error)})") from None


def load_trained(folder: Path, facts: ModelFacts, dtype: torch.dtype) -> FreeLMNetwork:
    """The network of a model folder; an adapter is merged with its base.

    Args:
        folder: Of a trained model.
        facts: From its `freelm.json`.
        dtype: Type of the weights in memory.

    Raises:
        ModelError: If it is damaged, or its base is missing or another one.
    """
    if facts.kind == "adapter":
        return _load_adapted(folder, facts, dtype)
    model, tokenizer = read_model(str(folder), dtype)
    _check_markers(folder, tokenizer, facts)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(f"{folder}: its tokenizer has {len(tokenizer)} tokens, its model {rows}")
    return FreeLMNetwork(model, add_markers(model, tokenizer))


def _load_adapted(folder: Path, facts: ModelFacts, dtype: torch.dtype) -> FreeLMNetwork:
    if facts.base is None:
        raise ModelError(f"{folder}: {FACTS_FILE} names no base for its adapter")
    check_folder(folder)
    base = load_base(facts.base, dtype)
    if facts.base_checksum != base.checksum:
        raise ModelError(
            f"{folder}: was trained on another file of {facts.base!r} "
            f"(checksum {str(facts.base_checksum)[:12]}..., here {str(base.checksum)[:12]}...)"
        )
    form = add_markers(base.model, base.tokenizer)
    _check_markers(folder, base.tokenizer, facts)
    return FreeLMNetwork(merge_adapter(base.model, base.tokenizer, folder), form)


def _check_markers(folder: Path, tokenizer: Any, facts: ModelFacts) -> None:
    found = marker_ids(tokenizer)
    if found != facts.markers:
        raise ModelError(f"{folder}: its markers are {facts.markers}, the tokenizer has {found}")
