"""Several processes train one network, each on its slice of every batch, as `torchrun` starts them.

The plan of an epoch is that of the global batch: process r of n takes its r-th part, and the gradients are averaged
before the update, so the weights stay the same everywhere. CKA and batch norm see the local part of the batch alone.
Process 0 validates and writes; its running statistics are the ones that are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from ...cache.errors import TrainingError
from ..batches.sampling import EpochPlan

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def part(self, plan: EpochPlan) -> EpochPlan:
        """This process's part (L, B / count) of a plan (L, B)."""
        size = plan.recordings.shape[1] // self.count
        own = slice(self.rank * size, (self.rank + 1) * size)
        return EpochPlan(*(draws[:, own] for draws in vars(plan).values()))

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each process's `values` (same shape and device everywhere)."""
        if self.count > 1:
            values = values / self.count
            dist.all_reduce(values)
        return values

    def highest(self, value: int, device: torch.device) -> int:
        """The largest of the processes' numbers."""
        if self.count == 1:
            return value
        values = torch.tensor(value, device=device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return int(values)

    def from_main(self, value: Value) -> Value:
        """Process 0's value (anything that pickles)."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def check_batch_size(self, batch_size: int) -> None:
        """Raise TrainingError unless the processes can share a batch evenly."""
        if batch_size % self.count or batch_size // self.count < 2:
            raise TrainingError(
                f"train.batch_size = {batch_size} cannot be shared by {self.count} processes: "
                f"use a multiple of {self.count}, at least {2 * self.count}"
            )


ALONE = Processes()


def is_main_process() -> bool:
    """False in all but one of the processes that `torchrun` started."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Meet the other processes that `torchrun` started, if any; yields this one's place and device.

    With CUDA each process of a host gets a device of its own and they talk through NCCL, otherwise through Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
