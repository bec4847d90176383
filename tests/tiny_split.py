"""A split like `PairedCache`'s, small, in memory, and easy to learn: each class is a bar at its own place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tiny import TINY

from dvs_transfer.cache.pairs import Reach

CLASS_NAMES = ("ant", "bee", "cat", "dog")
NUM_BINS, SIZE = TINY["frames"]["num_bins"], TINY["frames"]["size"]
Rows = NDArray[np.int64] | slice
SPLIT_SIZES = {"train": 24, "validation": 12, "test": 16}


@dataclass(frozen=True)
class TinySplit:
    """`name` seeds the content; image i is the photo of recording i; both have label i modulo 4."""

    name: str = "train"
    num_recordings: int = 24
    class_names: tuple[str, ...] = CLASS_NAMES
    num_bins: int = NUM_BINS
    size: int = SIZE
    protocol: str = "disjoint"
    photos_in_reach: Reach = "none"
    split_digest: str = "0123456789ab"
    fingerprint: str = "ba9876543210"
    recordings_digest: str = "456789abcdef"
    has_images: bool = True
    bin_mode: str = "time"
    groups: tuple[str, ...] | None = None

    @property
    def image_size(self) -> int:
        return self.size

    def __len__(self) -> int:
        return self.num_recordings

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def event_labels(self) -> NDArray[np.int64]:
        return np.arange(self.num_recordings) % self.num_classes

    @property
    def image_labels(self) -> NDArray[np.int64]:
        return self.event_labels

    @property
    def sample_ids(self) -> tuple[str, ...]:
        return tuple(f"{self.class_names[label]}/{self.name}_{i:04d}" for i, label in enumerate(self.event_labels))

    @property
    def photo(self) -> NDArray[np.int64]:
        return np.arange(self.num_recordings)

    @property
    def unlabelled(self) -> TinyUnlabelled:
        return TinyUnlabelled()

    def count(self, split: str) -> NDArray[np.int64]:
        return np.bincount(np.arange(SPLIT_SIZES[split]) % self.num_classes)

    def load_events(self, indices: Rows = slice(None)) -> NDArray[np.float16]:
        rng = np.random.default_rng(len(self.name))
        frames = rng.poisson(0.1, (self.num_recordings, self.num_bins, 2, self.size, self.size))
        frames += 3 * _bars(self.event_labels, self.size)[:, None, None]
        return frames.astype(np.float16)[indices]

    def load_images(self, indices: Rows = slice(None)) -> NDArray[np.uint8]:
        bars = _bars(self.image_labels, self.size)[:, None]
        return (bars * np.array([200, 100, 50])[:, None, None]).astype(np.uint8)[indices]

    def load_values(self, indices: Rows = slice(None)) -> NDArray[np.float32]:
        return self.load_images(indices).max(1, keepdims=True).astype(np.float32) / 255

    def read(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return {
            "events": torch.from_numpy(self.load_events()[indices].astype(np.float32)),
            "value": torch.from_numpy(self.load_values()[indices]),
            "label": torch.from_numpy(self.event_labels[indices]),
        }

    def read_images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.load_images()[indices]


class TinyUnlabelled:
    """The 24 recordings of "train" and 16 more, without labels."""

    event_labels = np.full(40, -1)

    def __len__(self) -> int:
        return 40

    def load_events(self, indices: Rows = slice(None)) -> NDArray[np.float16]:
        return TinySplit("train", 40).load_events(indices)


def open_tiny_split(name: str) -> TinySplit:
    return TinySplit(name, SPLIT_SIZES[name])


def _bars(labels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """(n, size, size): rows or columns of ones, at a place of the class's own."""
    bars = np.zeros((len(labels), size, size), np.int64)
    for bar, label in zip(bars, labels, strict=True):
        lines = bar if label % 2 else bar.T
        lines[3 + 4 * label // 2 : 6 + 4 * label // 2] = 1
    return bars
