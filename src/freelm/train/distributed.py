"""Data-parallel training under `torchrun`: gradients are summed over the processes.

Every process draws the same examples of a step and computes its share; because losses are sums
divided by the counts of the complete step, the summed gradients are those of one process.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

Item = TypeVar("Item")


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

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all processes."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)

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
    """Join the processes that `torchrun` started; a single process needs no set-up."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ProcessGroup()
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # Gradients are on the device of the weights, counts in CPU memory.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return ProcessGroup(dist.get_rank(), dist.get_world_size())
