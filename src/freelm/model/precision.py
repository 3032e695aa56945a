"""Types of numbers: what weights are held in, and what is computed in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from freelm.errors import ModelError

Dtype = Literal["auto", "fp32", "bf16"]


def weights_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of a model's weights on a device.

    Args:
        name: `fp32`, `bf16`, or `auto`: bf16 where the machine has matrix units for it. A CPU
            without them computes bf16 at half the speed of fp32 (docs/LOG.md, "Number types").
        device: Where the model will run.

    Raises:
        ModelError: If there is no such type.
    """
    match name:
        case "auto":
            return torch.bfloat16 if _has_bf16_units(device) else torch.float32
        case "fp32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
    raise ModelError(f"dtype is {name!r}; it must be one of auto, fp32, bf16")


def _has_bf16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def compute(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a network computes: bf16 where asked for, else as its weights are."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
