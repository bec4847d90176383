"""Training stops at the first number that is not finite, and names the recordings that led to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ..batches.sampling import EpochPlan
from .step import StepRecord


@dataclass
class EpochRecords:
    """The `StepRecord`s of an epoch's steps: gathered on the device, and read from it now and then.

    epoch: counted from 0.  sample_ids: of the split's rows.  read (n, R): those of the first n steps, on the CPU.
    """

    epoch: int
    plan: EpochPlan
    sample_ids: Sequence[str]
    device: torch.device
    newest_checkpoint: Callable[[], Path | None]
    read: Tensor = field(default_factory=lambda: torch.zeros(0, len(StepRecord._fields)))

    def __post_init__(self) -> None:
        self._values = torch.zeros(len(self.plan), len(StepRecord._fields), device=self.device)

    def note(self, step: int, record: Tensor) -> None:
        """Keep the record (R,) of a step, on the device."""
        self._values[step] = record

    def read_to(self, done: int) -> None:
        """Fetch the records of the steps up to `done`. Raises TrainingError: one is not finite."""
        first = len(self.read)
        if done == first:
            return
        new = self._values[first:done].cpu()
        broken = (~new.isfinite()).any(1).nonzero()
        if len(broken):
            row = int(broken[0])
            named = ", ".join(f"{k} {v:g}" for k, v in zip(StepRecord._fields, new[row].tolist(), strict=True))
            self._stop(f"the loss or its gradient ({named})", first + row)
        self.read = torch.cat([self.read, new])

    def check_weights(self, network: nn.Module) -> None:
        """A loss and a gradient that are finite can still make a weight that is not. Raises TrainingError then."""
        if not bool(torch.stack([weight.isfinite().all() for weight in network.state_dict().values()]).all()):
            self._stop("a weight", len(self.read) - 1)

    def _stop(self, what: str, step: int) -> NoReturn:
        ids = ", ".join(self.sample_ids[i] for i in self.plan.recordings[step].tolist())
        raise TrainingError(
            f"{what} is not finite in step {step + 1} of epoch {self.epoch + 1}; the last good checkpoint is kept: "
            f"{self.newest_checkpoint()}. Lower train.base_learning_rate, or look at the batch's recordings: {ids}"
        )
