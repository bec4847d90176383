"""What a run measures at the end of an epoch, of the network that it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.paired import PairedCache
from ..batches.data import event_frames, read_events
from ..batches.loading import Loader, load
from ..network.networks import SpikingNetwork
from ..network.prediction import accuracy, firing_rates, predict


@dataclass(frozen=True)
class Validation:
    """selection: the recordings whose accuracy is told; None without.

    shown (B, T, 2, H, W): those whose firing rates are told, of all classes.
    """

    selection: Loader | None
    shown: Tensor
    batch_size: int

    @classmethod
    def of(cls, selected: PairedCache, split: PairedCache, batch_size: int, device: torch.device) -> Validation:
        """On the recordings that select the epoch; without any, firing rates are those of the training split's."""
        shown = selected if len(selected) else split
        return cls(
            load(selected, device) if len(selected) else None,
            torch.from_numpy(read_events(shown, _spread_rows(len(shown), batch_size))).to(device),
            batch_size,
        )

    def measure(self, network: SpikingNetwork) -> tuple[float | None, dict[str, float]]:
        """Top-1 in [0, 1], None without recordings that select; and the firing rate of each layer."""
        seen = self.selection
        top1 = None if seen is None else accuracy(predict(network, seen, self.batch_size), seen.labels)
        return top1, firing_rates(network, event_frames(self.shown.float()))


def _spread_rows(num_rows: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of `num_rows` rows, evenly spread: a split lies class by class."""
    count = min(limit, num_rows)
    return np.arange(count) * num_rows // max(1, count)
