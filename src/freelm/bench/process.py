"""Measurements in fresh processes."""

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
"""Types of numbers that are measured; what is asked for is measured, whatever `auto` would take."""


class BenchmarkError(FreeLMError):
    """A measurement could not be taken."""


def measure_in_process(worker: str, spec: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Take one measurement in a process of its own.

    Args:
        worker: Module that is run with the specification (JSON) as its argument and prints its
            result as the last line of standard output, JSON too.
        spec: What to measure; beside it the process finds `device`, which is `cpu` or `cuda`.
        device: `cpu`, `cuda`, or one of several GPUs; the process sees no other, so that what looks
            for a GPU by itself, as trainers do, takes the right one or none.

    Raises:
        BenchmarkError: If the process fails; its last words are in the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", worker, json.dumps({**spec, "device": device.partition(":")[0]})],
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
        words = done.stderr.strip().splitlines()
        raise BenchmarkError(f"{spec}: {words[-1] if words else 'the process said nothing'}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _visible(device: str) -> str:
    """The GPU that a process is to see; numbers count those that this one sees."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[int(number or 0)] if seen else number or "0"


def repeat_for(work: Callable[[], Any], seconds: float) -> float:
    """Seconds per call: once to warm up, then over and over for about some seconds."""
    work()
    begin, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begin < seconds:
        work()
        count += 1
    return (time.perf_counter() - begin) / count


def median(results: list[dict[str, Any]], key: str) -> float:
    """The median of one figure over repeated measurements."""
    return statistics.median(float(result[key]) for result in results)
