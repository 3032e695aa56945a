"""The machine: its speed in matrix products, clock, peak memory and description."""

import platform
import time
from typing import Any

import torch

from freelm.bench.runner import repeat_for
from freelm.io.memory import peak_memory_gb

PRODUCTS = {"cpu": (1024, 576, 1536), "cuda": (8192, 8192, 8192)}
"""Rows, inner and outer width of the timed products. On a CPU a feed-forward product of a 135M
model over 1,024 tokens, which would leave most of a GPU idle."""


def matmul_flops(dtype: torch.dtype, device: str, seconds: float = 1.0) -> float:
    """Measured FLOP/s of matrix products, the upper limit for everything else.

    Args:
        dtype: Type of the factors.
        device: `cpu` or `cuda`.
        seconds: Measuring time.
    """
    rows, inner, outer = PRODUCTS[device]
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, outer, device=device).to(dtype)

    def work() -> None:
        for _ in range(20):
            left @ right
        synchronize(device)

    return 20 * 2 * rows * inner * outer / repeat_for(work, seconds)


def synchronize(device: str) -> None:
    """Wait until a device has finished its work; a GPU works asynchronously."""
    if device == "cuda":
        torch.cuda.synchronize()


def clock(device: str) -> float:
    """Seconds on a clock, read after the device has finished its work."""
    synchronize(device)
    return time.perf_counter()


def peak_mb(device: str) -> float:
    """Peak memory of this process so far, in MB (1e6 bytes).

    On a CPU its resident memory, on a GPU that of its tensors (`torch.cuda.max_memory_allocated`).
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_memory_gb() * 1e3


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, threads and versions, and the GPU if `device` is one."""
    facts = torch.cpu.get_capabilities()
    return {
        "processor": facts.get("cpu_name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
