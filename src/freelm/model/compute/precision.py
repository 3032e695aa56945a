"""Types of numbers: what weights are held in, and what is computed in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

from freelm.errors import ModelError
from freelm.model.compute.speed import fastest_cpu_dtype

Dtype = Literal["auto", "fp32", "bf16", "int8"]


def weights_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of a model's weights on a device.

    Args:
        name: `fp32`, `bf16`, or `auto`: bf16 on a GPU with units for it, and on a CPU that
            computes it faster by measurement (`freelm.model.compute.speed`). `int8` gives fp32,
            because `freelm.model.compute.int8` rounds loaded weights.
        device: Where the model will run.

    Raises:
        ModelError: If there is no such type, or the machine does not support it.
    """
    match name:
        case "auto":
            if device.type == "cpu":
                return fastest_cpu_dtype()
            has_units = device.type == "cuda" and torch.cuda.is_bf16_supported(
                including_emulation=False
            )
            return torch.bfloat16 if has_units else torch.float32
        case "fp32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
        case "int8":
            check_int8_units(device)
            return torch.float32
    raise ModelError(f"dtype is {name!r}; it must be one of {', '.join(get_args(Dtype))}")


def check_int8_units(device: torch.device) -> None:
    """Refuse int8 where it does not pay.

    Raises:
        ModelError: If the device is not made for it.
    """
    if not has_int8_units(device):
        raise ModelError(
            "int8 needs a CPU with instructions for it (VNNI or AMX); the model would run "
            f"on {device.type} without; take another dtype or precision"
        )


def has_int8_units(device: torch.device) -> bool:
    """Whether a device multiplies eight-bit numbers fast and without overflow.

    A CPU without such instructions sums pairs of products in 16 bits, which overflow.
    """
    units = torch.cpu.get_capabilities()
    known = ("avx512_vnni", "avx_vnni", "amx_int8")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and any(units.get(name) for name in known)
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context that computes in bf16 if requested, otherwise in the type of the weights."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
