"""Data-parallel training under `torchrun`, with DistributedDataParallel.

Every process draws the same examples of a step and computes its share. Losses are sums divided by
the counts of the complete step, so the gradients are those of one process, whatever the numbers of
examples and tokens in each share.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from freelm.errors import TrainingError, first_line

Item = TypeVar("Item")

TIMEOUT = timedelta(minutes=10)
"""How long processes wait for each other before they give up."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a run, seen from this one."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of a step that this process computes."""
        return items[self.rank :: self.size]

    def wrap(self, loss: nn.Module) -> nn.Module:
        """A module whose backward pass averages gradients over the processes."""
        if self.size == 1:
            return loss
        # All processes build the same weights, from the seed or from a checkpoint.
        return DDP(loss, forward_sync_buffers=False, init_sync=False, gradient_as_bucket_view=True)

    def sum(self, value: float) -> float:
        """Sum a number over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def from_main(self, value: float) -> float:
        """Broadcast a number from the main process.

        All processes must take the same decisions: if rounding on one device made its process stop
        or save alone, the others would wait for it forever.
        """
        return self.sum(value if self.is_main else 0.0)

    def wait(self) -> None:
        """Wait until all processes have reached this call."""
        if self.size > 1:
            dist.barrier()


def join_process_group() -> ProcessGroup:
    """Join the processes that `torchrun` started; a single process needs no set-up.

    Raises:
        TrainingError: If the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ProcessGroup()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # Gradients are on the device of the weights, counts in CPU memory.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=TIMEOUT)
        except RuntimeError as error:
            raise TrainingError(
                f"cannot connect to the other processes of the run ({first_line(error)})"
            ) from None
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


@contextmanager
def report_lost_processes(group: ProcessGroup) -> Iterator[None]:
    """Turn the error of a process that lost another one into a message.

    Raises:
        TrainingError: If another process died or did not answer within `TIMEOUT`.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo raises plain RuntimeErrors that name a file of its own.
        if group.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(
            f"process {group.rank}: another of the {group.size} processes died or did not answer "
            f"({first_line(error)}); start the same command again to resume"
        ) from None
