"""The recordings of one split as other libraries take them: `(frames, target)`, like the items of tonic's data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset


@dataclass(frozen=True, eq=False)
class FramesAndTargets(Dataset[tuple[Any, Any]]):
    """Made by `PairedCache.as_dataset`; may be sent to worker processes.

    load_events: (n, T, 2, H, W) frames at indices (n,).  labels: (n,) class of each recording.
    classes: their names.  sensor_size: (W, H, 2) of the frames, as tonic's transforms take it.
    """

    load_events: Callable[[NDArray[np.int64]], NDArray[Any]]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sensor_size: tuple[int, int, int]
    transform: Callable[[NDArray[np.float32]], Any] | None = None
    target_transform: Callable[[int], Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        frames = self.load_events(np.array([index % len(self)]))[0].astype(np.float32)
        target = int(self.labels[index])
        return (
            frames if self.transform is None else self.transform(frames),
            target if self.target_transform is None else self.target_transform(target),
        )
