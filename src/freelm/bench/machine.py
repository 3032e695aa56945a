"""What the machine can do: its own measured matrix products, and its description."""

import platform
from typing import Any

import torch

from freelm.bench.process import repeat_for

# A feed-forward product of a 135M model over a batch of 1,024 tokens.
M, K, N = 1024, 576, 1536


def matmul_flops(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measured FLOP/s of matrix products of the model's own size: the ceiling of all else."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.randn(M, K, device=device).to(dtype)
    right = torch.randn(K, N, device=device).to(dtype)

    def work() -> None:
        for _ in range(20):
            left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    return 20 * 2 * M * K * N / repeat_for(work, seconds)


def describe() -> dict[str, Any]:
    """Processor, threads and versions."""
    facts = torch.cpu.get_capabilities()
    return {
        "processor": facts.get("cpu_name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
