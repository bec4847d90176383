"""A split of the cache, whole on the training device, and how its images become frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Encoding = Literal["value", "grey", "red", "green", "blue", "mean"]

# Weights of R, G, B. Grey is ITU-R BT.601 luma, as in Pillow's mode "L".
_CHANNEL_WEIGHTS: dict[str, tuple[float, float, float]] = {
    "grey": (0.299, 0.587, 0.114),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "mean": (1 / 3, 1 / 3, 1 / 3),
}


class ImageSource(Protocol):
    """m images, as RGB (m, 3, H, W) and as HSV's V (m, 1, H, W)."""

    def load_images(self) -> NDArray[np.uint8]: ...
    def load_values(self) -> NDArray[np.float32]: ...


class PairedSplit(ImageSource, Protocol):
    """What training reads of `cache.paired.PairedCache`: n recordings and the m images of the static pool."""

    def __len__(self) -> int: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def num_bins(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def protocol(self) -> str: ...
    @property
    def split_digest(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def recordings_digest(self) -> str: ...
    @property
    def event_labels(self) -> NDArray[np.int64]: ...
    @property
    def sample_ids(self) -> tuple[str, ...]: ...
    @property
    def image_labels(self) -> NDArray[np.int64]: ...
    @property
    def photo(self) -> NDArray[np.int64]: ...
    def load_events(self) -> NDArray[Any]: ...


SplitName = Literal["train", "validation", "test"]
OpenSplit = Callable[[SplitName], PairedSplit]


@dataclass(frozen=True)
class EventData:
    """Recordings on a device: frames (n, T, 2, H, W) in the store's type, labels (n,) int64."""

    frames: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor | slice) -> Tensor:
        """Frames of `rows` as float32 counts (B, T, 2, H, W)."""
        return self.frames[rows].float()


def load_events(split: PairedSplit, device: torch.device) -> EventData:
    """All recordings of a split on `device`."""
    frames = split.load_events()
    if frames.dtype == np.uint16:
        frames = frames.astype(np.float32)  # torch cannot index its uint16
    return EventData(torch.from_numpy(frames).to(device), torch.from_numpy(split.event_labels).to(device))


def load_static(split: ImageSource, encoding: Encoding, device: torch.device) -> Tensor:
    """The static pool as one channel (m, 1, H, W), float32 in [0, 1], on `device`."""
    if encoding == "value":
        return torch.from_numpy(split.load_values()).to(device)
    weights = torch.tensor(_CHANNEL_WEIGHTS[encoding], device=device)
    images = torch.from_numpy(split.load_images()).to(device)
    pool = torch.empty(len(images), 1, *images.shape[-2:], device=device)
    for image, encoded in zip(images, pool, strict=True):  # one at a time: no float copy of the whole pool
        encoded.copy_(torch.tensordot(weights, image / 255, dims=1))
    return pool


def event_frames(events: Tensor) -> Tensor:
    """Recordings (B, T, 2, H, W) as the network takes them, (T, B, 2, H, W)."""
    return events.transpose(0, 1)


def static_frames(images: Tensor, events: Tensor, replaced: Tensor) -> Tensor:
    """The static branch's frames (T, B, 2, H, W): images (B, 1, H, W) in both polarities at every step.

    Direct encoding. Where `replaced` (B,) is true, the whole clip of `events` (T, B, 2, H, W) takes its image's place.
    """
    return torch.where(replaced[:, None, None, None], events, images)
