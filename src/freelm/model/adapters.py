"""LoRA adapters (arXiv 2106.09685) through peft.

An adapter folder holds peft's own files and `markers.safetensors`, the four markers' rows.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from freelm.config import LoraSettings
from freelm.errors import ModelError, first_line
from freelm.model.folder_checks import check_finite, check_folder
from freelm.model.markers import MarkerRows

ADAPTER_FILE = "adapter_model.safetensors"
MARKERS_FILE = "markers.safetensors"


def add_lora(model: Any, settings: LoraSettings) -> PeftModel:
    """Freeze a base and add LoRA to all its linear layers but the output embedding."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        fan_in_fan_out=model.config.model_type == "gpt2",
    )
    with _silence_peft_warning():
        adapted = get_peft_model(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


@contextmanager
def _silence_peft_warning() -> Iterator[None]:
    """Hide a warning that transformers 5.23 gives for every peft 0.21 adapter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def save_adapter(adapted: PeftModel, rows: MarkerRows, folder: Path) -> None:
    """Write an adapter folder."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    save_file(dict(rows.state_dict()), folder / MARKERS_FILE)


def load_adapter_weights(adapted: PeftModel, rows: MarkerRows, folder: Path) -> None:
    """Start an adapter that is to be trained from the weights of a stored one.

    Raises:
        ModelError: If the stored one is missing, damaged or of another shape or scale.
    """
    check_folder(folder)
    try:
        stored: Any = LoraConfig.from_pretrained(str(folder))
        rows.load_state_dict(load_file(folder / MARKERS_FILE))
        weights = load_file(folder / ADAPTER_FILE)
        loaded: Any = set_peft_model_state_dict(adapted, weights)
    except Exception as error:  # peft and safetensors raise many kinds; the user needs one line
        line = first_line(error)
        raise ModelError(f"{folder}: no adapter to start from ({line})") from None
    own: Any = adapted.peft_config["default"]
    if (stored.r, stored.lora_alpha) != (own.r, own.lora_alpha):
        raise ModelError(
            f"{folder}: has rank {stored.r} and alpha {stored.lora_alpha}, the run has {own.r} and "
            f"{own.lora_alpha}; make them equal"
        )
    missing = [key for key in loaded.missing_keys if "lora_" in key]
    if missing or loaded.unexpected_keys:
        name = (missing or loaded.unexpected_keys)[0]
        raise ModelError(f"{folder}: its adapter belongs to another model ({name} does not fit)")


def merge_adapter(model: Any, tokenizer: Any, folder: Path) -> Any:
    """Merge a stored adapter into a base that has the markers.

    Raises:
        ModelError: If the adapter is missing, damaged, not finite or does not fit the base.
    """
    try:
        (folder / ADAPTER_FILE).stat()  # without it peft looks for a pickle and asks the Hub
        rows = MarkerRows(model, tokenizer)
        rows.load_state_dict(load_file(folder / MARKERS_FILE))
        rows.merge_into(model)
        with _silence_peft_warning():
            merged: Any = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except Exception as error:  # peft and safetensors raise many kinds; the user needs one line
        line = first_line(error)
        raise ModelError(f"{folder}: the adapter does not fit its base ({line})") from None
    check_finite(merged, str(folder))
    return merged
