"""How many threads torch computes with, and how they wait for each other.

An operation ends when its slowest thread does. With more threads than processors (a container whose
CPU quota is below the number of cores, or other load) threads that spin at these barriers use up
the time slices of the threads that they wait for: one judgement took 7.4 s instead of 0.12.
"""

import math
import os
import sys
from pathlib import Path

from freelm.errors import InputError

_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Settings of the OpenMP runtimes (GNU's two, Intel's and LLVM's one) for waiting asleep."""

_requested: int | None = None


def wait_passively() -> None:
    """Make idle threads sleep instead of spin, unless the environment says otherwise.

    The OpenMP runtime reads these settings when torch is imported, so call this before that.
    """
    if not _PASSIVE.keys() & os.environ.keys():
        os.environ.update(_PASSIVE)


def request_threads(count: int | None) -> None:
    """Set the number of threads for all models of this process and of those it starts.

    Args:
        count: The number; None means the default of `apply_threads`.

    Raises:
        InputError: If the number is below 1.
    """
    global _requested
    if count is not None and count < 1:
        raise InputError(f"threads is {count}; it must be at least 1")
    _requested = count
    if count is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        apply_threads()


def apply_threads() -> None:
    """Give torch the requested number of threads, or at most one per available processor.

    The default never raises torch's own number, which counts physical cores and obeys
    `OMP_NUM_THREADS`.
    """
    import torch

    count = min(torch.get_num_threads(), available_processors())
    if _requested is not None:
        count = _requested
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def available_processors(root: Path = Path("/")) -> int:
    """Processors that this process may keep busy: by its affinity and by its cgroups' CPU quotas.

    A quota of 1.5 processors counts as one: two threads would be stopped before each period ends.

    Args:
        root: Where `/proc` and `/sys` are.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min(count, _cgroup_quota(root))))


def _cgroup_quota(root: Path) -> float:
    """The smallest CPU quota, in processors, of the process's cgroup and the groups above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        mounts = ("cpu", "cpu,cpuacct") if "cpu" in controllers.split(",") else ()
        for mount in mounts if controllers else ("", "unified"):
            top = root / "sys/fs/cgroup" / mount
            # In a container the path is often the host's, and the group's files are at the top.
            path = top / group.lstrip("/")
            folders = (folder for folder in (path, *path.parents) if folder.is_relative_to(top))
            quotas += map(_quota, folders)
    return min(quotas)


def _quota(folder: Path) -> float:
    """The quota of one cgroup, version 2 or 1; infinite where there is none."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return math.inf
    return share if share > 0 else math.inf  # version 1 writes -1 for no quota
