"""Several processes train one network, each on its slice of every batch, as `torchrun` starts them.

The plan of an epoch is that of the global batch: process r of n takes its r-th part, and the gradients are averaged
before the update, so the weights stay the same everywhere. CKA and batch norm see the local part of the batch alone.
Process 0 validates and writes; its running statistics are the ones that are kept, or with shards of their own those of
all (`statistics`).
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor
from torch import distributed as dist

from ...cache.errors import TrainingError
from ..batches.sampling import EpochPlan

Value = TypeVar("Value")

_MEETINGS = itertools.count()  # of this process with the others: `train` may train a run and its baseline
LOOKING_S = 2.0  # for which process has ended: its connections are closed a moment before


class ProcessesLostError(TrainingError):
    """Another process of the run has ended, or cannot be reached."""


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`. places: host and process id of each, where there are several."""

    rank: int = 0
    count: int = 1
    places: tuple[tuple[str, int], ...] = ()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def part(self, plan: EpochPlan) -> EpochPlan:
        """This process's part (L, B / count) of a plan (L, B)."""
        size = plan.recordings.shape[1] // self.count
        own = slice(self.rank * size, (self.rank + 1) * size)
        return EpochPlan(*(draws[:, own] for draws in vars(plan).values()))

    def average_gradients(self, parameters: Iterable[Tensor], values: Tensor) -> Tensor:
        """Replace each gradient by its mean over the processes, in one message, in which the others' `values` come too.

        values (k,): of this process, float32; returns those of all, (P, k).
        """
        if self.count == 1:
            return values[None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        table = values.new_zeros(self.count, len(values))
        table[self.rank] = values  # the others add zeros
        flat = torch.cat([*(gradient.flatten() / self.count for gradient in gradients), table.flatten()])
        self._together(dist.all_reduce, flat)
        *parts, table = torch.split(flat, [*(gradient.numel() for gradient in gradients), table.numel()])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))
        return table.view(self.count, len(values))

    def highest(self, value: int, device: torch.device) -> int:
        """The largest of the processes' numbers."""
        if self.count == 1:
            return value
        values = torch.tensor(value, device=device)
        self._together(dist.all_reduce, values, op=dist.ReduceOp.MAX)
        return int(values)

    def from_main(self, value: Value) -> Value:
        """Process 0's value (anything that pickles)."""
        if self.count == 1:
            return value
        values = [value]
        self._together(dist.broadcast_object_list, values, src=0)
        return values[0]

    def _together(self, collective: Callable[..., object], *arguments: object, **options: object) -> None:
        """Raises ProcessesLostError."""
        try:
            collective(*arguments, **options)
        except RuntimeError as error:
            words = str(error).partition("\n")[0].partition(". ")[0]
            raise ProcessesLostError(f"{self._lost()} ({words})") from error

    def _lost(self) -> str:
        here, end = self.places[self.rank][0] if self.places else None, time.monotonic() + LOOKING_S
        while time.monotonic() < end:
            gone = [rank for rank, (host, pid) in enumerate(self.places) if host == here and not _lives(pid)]
            if gone:
                named = ", ".join(f"{rank} (pid {self.places[rank][1]})" for rank in gone)
                return f"of this run's {self.count} processes, number {named} ended"
            time.sleep(0.02)
        return f"another one of this run's {self.count} processes ended, or cannot be reached"

    def check_batch_size(self, batch_size: int) -> None:
        """Raise TrainingError unless the processes can share a batch evenly."""
        if batch_size % self.count or batch_size // self.count < 2:
            raise TrainingError(
                f"train.batch_size = {batch_size} cannot be shared by {self.count} processes: "
                f"use a multiple of {self.count}, at least {2 * self.count}"
            )


ALONE = Processes()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


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
    store, rank, count = next(iter(dist.rendezvous("env://")))  # type: ignore[attr-defined]
    # Each meeting has keys of its own: under those of the one before, a process may find the others where they were.
    store = dist.PrefixStore(f"meeting {next(_MEETINGS)}", store)  # type: ignore[attr-defined]
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        places: list[Any] = [None] * count
        processes = Processes(rank, count)
        processes._together(dist.all_gather_object, places, (platform.node(), os.getpid()))
        yield replace(processes, places=tuple(places)), device
    finally:
        dist.destroy_process_group()
