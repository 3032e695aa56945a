"""Which number type a CPU multiplies faster, measured once and stored in the cache.

What a CPU says of itself does not tell: of two without matrix units for bf16, one computes it three
times as fast as fp32 and another at a quarter of the speed.
"""

import hashlib
import json
import logging
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from freelm.io.atomic import atomic_write
from freelm.io.cache import cache_dir

log = logging.getLogger(__name__)

SHAPES = ((256, 576, 1536), (256, 1536, 576), (256, 576, 576))
"""Rows, inputs and outputs of the products that are timed: those of the 135M release."""

MIN_GAIN = 1.3
"""bf16 rounds, so it must be at least this much faster."""

_REPETITIONS = 5


@lru_cache(maxsize=1)
def fastest_cpu_dtype() -> torch.dtype:
    """bf16 if this CPU computes it at least `MIN_GAIN` times as fast as fp32, else fp32.

    The first call on a machine takes some 50 ms; the result is cached per CPU name, torch
    version and number of threads.
    """
    machine = {"cpu": _cpu_name(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    key = hashlib.sha256(json.dumps(machine).encode()).hexdigest()[:12]
    path = cache_dir() / "speed" / f"{key}.json"
    times = _stored(path)
    if times is None:
        times = {name: _seconds(dtype) for name, dtype in _TYPES.items()}
        try:
            atomic_write(path, json.dumps({**machine, **times}, indent=1) + "\n")
        except OSError:  # a cache that cannot be written costs another measurement
            log.info("the measured speeds cannot be stored in %s", path)
    gain = times["fp32"] / times["bf16"]
    chosen = "bf16" if gain >= MIN_GAIN else "fp32"
    log.info("dtype auto: %s (bf16 is %.2f times as fast on %s)", chosen, gain, machine["cpu"])
    return _TYPES[chosen]


_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _stored(path: Path) -> dict[str, float] | None:
    try:
        data: Any = json.loads(path.read_text())
        times = {name: float(data[name]) for name in _TYPES}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return times if all(0 < value < 60 for value in times.values()) else None


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    """The shortest time of one round of products; other load only makes rounds longer."""
    pairs = [
        (torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype))
        for rows, inputs, outputs in SHAPES
    ]
    best = float("inf")
    for _ in range(_REPETITIONS):
        begin = time.perf_counter()
        for x, weight in pairs:
            torch.nn.functional.linear(x, weight)
        best = min(best, time.perf_counter() - begin)
    return max(best, 1e-9)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
