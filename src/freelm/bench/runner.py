"""Runs each measurement in a fresh process, so that none warms up or slows down the next.

A benchmark is a module of this package whose function `measure(spec)` runs in that process.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from freelm.errors import FreeLMError

DTYPES = ("fp32", "bf16", "int8")
"""Number types that can be measured; `auto` plays no role here."""


class BenchmarkError(FreeLMError):
    """A measurement failed."""


def measure_in_process(module: str, spec: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Call `measure(spec)` of a module in a new process.

    Args:
        module: Name of the module.
        spec: What to measure, as JSON values; `device` is added, `cpu` or `cuda`.
        device: `cpu`, `cuda`, or one of several GPUs. The process sees no other GPU, so that code
            that looks for a GPU by itself, like trainers, takes this one.

    Returns:
        The result of `measure`.

    Raises:
        BenchmarkError: If the process fails; the message has its last line.
    """
    spec = {**spec, "device": device.partition(":")[0]}
    done = subprocess.run(
        [sys.executable, "-m", "freelm.bench.runner", module, json.dumps(spec)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": _visible(device),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        errors = done.stderr.strip().splitlines()
        raise BenchmarkError(f"{spec}: {errors[-1] if errors else 'the process printed nothing'}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _visible(device: str) -> str:
    """The GPU that a process may see; numbers count those that this process sees."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[int(number or 0)] if seen else number or "0"


def repeat_for(work: Callable[[], Any], seconds: float) -> float:
    """Seconds per call: one call to warm up, then calls for about `seconds`."""
    work()
    begin, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begin < seconds:
        work()
        count += 1
    return (time.perf_counter() - begin) / count


def median(results: list[dict[str, Any]], key: str) -> float:
    """The median of one figure over repeated measurements."""
    return statistics.median(float(result[key]) for result in results)


if __name__ == "__main__":
    print(json.dumps(importlib.import_module(sys.argv[1]).measure(json.loads(sys.argv[2]))))
