"""Checks on a model folder before a library reads it: it holds no code, and its sizes are sane.

A model folder is data from somebody else. Some keys of its JSON files let transformers or peft
import Python files or fetch compiled kernels; some numbers make them allocate any amount of memory.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from freelm.errors import ModelError, os_reason

MAX_JSON_BYTES = 16 * 2**20
"""Larger than any configuration file of a model; only `tokenizer.json` is not read here."""

CODE_KEYS = (
    "auto_map",  # transformers: classes in Python files of the folder or of a Hub repository
    "auto_mapping",  # peft: classes of any importable module
    "megatron_config",  # peft: imports the module that `megatron_core` names
    "attn_implementation",  # transformers: kernels of a Hub repository
    "_attn_implementation",
)
"""Keys that name code to import or fetch."""

CHECKED_FILES = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "adapter_config.json",
)

LIMITS = {
    "vocab_size": 2**22,
    "hidden_size": 2**16,
    "intermediate_size": 2**19,
    "num_hidden_layers": 512,
    "num_attention_heads": 2**11,
    "num_key_value_heads": 2**11,
    "head_dim": 2**12,
    "max_position_embeddings": 2**24,
}
"""Largest value of each size, far above those of any model that a single machine runs."""

_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}


def check_folder(folder: Path) -> None:
    """Refuse a folder whose JSON files name code or describe a model that its weights cannot fill.

    Raises:
        ModelError: If a file names code, cannot be read as a JSON object, or has absurd sizes.
    """
    for name in CHECKED_FILES:
        if (folder / name).exists():
            data = read_json_object(folder / name)
            if key := next(_code_keys(data), None):
                raise ModelError(
                    f"{folder / name}: {key!r} names code to load; FreeLM never runs code from a "
                    "model folder, so the folder is refused"
                )
            if name == "config.json":
                check_sizes(data, str(folder / name))
                _check_weights_fill(data, folder)


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a regular file of at most `MAX_JSON_BYTES`.

    Raises:
        ModelError: If it is none.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # reading a FIFO or a device could block or never end
            raise ModelError(f"{path}: cannot be read (not a regular file)")
        if facts.st_size > MAX_JSON_BYTES:
            raise ModelError(
                f"{path}: cannot be read ({facts.st_size:,} bytes, at most {MAX_JSON_BYTES:,})"
            )
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({os_reason(error)})") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path}: cannot be read (it must hold a JSON object)")
    return data


def check_sizes(config: dict[str, Any], where: str) -> None:
    """Refuse a model configuration with sizes beyond `LIMITS`.

    Args:
        config: Keys of `config.json`.
        where: Names the model in the message.

    Raises:
        ModelError: If a size is not a positive integer or too large.
    """
    for name, limit in LIMITS.items():
        for key in (name, _GPT2_NAMES.get(name, name)):
            value = config.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit:
                raise ModelError(f"{where}: {key} is {value!r}; it must be from 1 to {limit:,}")


def check_config(config: Any, where: str) -> None:
    """The same checks on a configuration that transformers has read, as from the Hub.

    Raises:
        ModelError: As `check_folder`.
    """
    data = config.to_dict()
    if key := next(_code_keys(data), None):
        raise ModelError(f"{where}: its configuration has {key!r}, which names code; it is refused")
    check_sizes(data, where)


def check_finite(model: torch.nn.Module, where: str) -> None:
    """Refuse a model with NaN or infinite weights; reads each weight once (0.1 s for 135M).

    Raises:
        ModelError: If there is one (its tensor is named).
    """
    for name, weight in model.named_parameters():
        if weight.numel() and not torch.isfinite(torch.stack(torch.aminmax(weight.detach()))).all():
            raise ModelError(f"{where}: {name} holds NaN or infinite weights; get the model again")


def _code_keys(data: Any) -> Iterator[str]:
    """Keys of `CODE_KEYS` that have a value, at any depth."""
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                if key in CODE_KEYS and value not in (None, "eager", "sdpa"):
                    yield key
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _check_weights_fill(config: dict[str, Any], folder: Path) -> None:
    """Compare the fewest parameters that a configuration means with the bytes of the weights."""
    sizes = {
        name: config.get(name) or config.get(_GPT2_NAMES.get(name, name)) or 0
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    }
    # A lower bound: tied embeddings, queries and outputs, and two of the feed-forward matrices.
    inner = sizes["intermediate_size"] or sizes["hidden_size"]
    layer = 2 * sizes["hidden_size"] * (inner + _attention_width(config, sizes["hidden_size"]))
    fewest = sizes["vocab_size"] * sizes["hidden_size"] + sizes["num_hidden_layers"] * layer
    stored = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if stored and fewest > stored:
        raise ModelError(
            f"{folder / 'config.json'}: describes a model of at least {fewest:,} parameters, but "
            f"the weights in the folder are {stored:,} bytes"
        )


def _attention_width(config: dict[str, Any], hidden: int) -> int:
    heads = config.get("num_attention_heads") or config.get("n_head") or 1
    width: int = heads * (config.get("head_dim") or hidden // heads)
    return width
