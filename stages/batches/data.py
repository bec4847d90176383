"""What training reads of a split of the cache, and how its images become frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.paired import PairedCache, UnlabelledRecordings
from ...cache.pairs import Split

IntArray = NDArray[np.int64]
Encoding = Literal["value", "grey", "red", "green", "blue", "mean", "saccade", "recorded", "strokes"]

# Weights of R, G, B. Grey is ITU-R BT.601 luma, as in Pillow's mode "L".
_CHANNEL_WEIGHTS: dict[str, tuple[float, float, float]] = {
    "grey": (0.299, 0.587, 0.114),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "mean": (1 / 3, 1 / 3, 1 / 3),
    "saccade": (0.299, 0.587, 0.114),  # a camera sees luminance
}


class ImageSource(Protocol):
    """m images, as RGB (m, 3, H, W), as HSV's V (m, 1, H, W), some as their simulated recordings (m, T, 2, H, W) or as
    strokes (m, K, 4)."""

    def load_images(self, indices: IntArray | None = None) -> NDArray[np.uint8]: ...
    def load_values(self, indices: IntArray | None = None) -> NDArray[np.float32]: ...
    def load_recorded(self, indices: IntArray | None = None) -> NDArray[Any]: ...
    def load_strokes(self, indices: IntArray | None = None) -> NDArray[np.float32]: ...


OpenSplit = Callable[[Split], PairedCache]


def read_events(split: PairedCache | UnlabelledRecordings, rows: IntArray) -> NDArray[Any]:
    """Recordings (n, T, 2, H, W) of a split, in the store's type or, where torch cannot index that, in float32."""
    return _indexable(split.load_events(rows))


def _indexable(frames: NDArray[Any]) -> NDArray[Any]:
    return frames.astype(np.float32) if frames.dtype == np.uint16 else frames


def read_static(source: ImageSource, encoding: Encoding, rows: IntArray) -> NDArray[Any]:
    """Images of a split's static pool as one channel (n, 1, H, W) in [0, 1]; with the encoding "recorded" their
    recordings, as `read_events` gives them, with "strokes" how they were drawn, (n, K, 4)."""
    if encoding == "recorded":
        return _indexable(source.load_recorded(rows))
    if encoding == "strokes":
        return source.load_strokes(rows)
    return source.load_values(rows) if encoding == "value" else encode_images(source.load_images(rows), encoding)


def encode_images(rgb: NDArray[np.uint8], encoding: Encoding) -> NDArray[np.float32]:
    """RGB images (n, 3, H, W) as one channel (n, 1, H, W) in [0, 1], by an encoding of brightness other than "value".

    Always computed on the CPU, one image at a time: an image has the same bits wherever and with whichever it is used.
    """
    weights = torch.tensor(_CHANNEL_WEIGHTS[encoding])
    images = torch.from_numpy(rgb)
    channel = torch.empty(len(images), 1, *images.shape[-2:])
    for image, encoded in zip(images, channel, strict=True):
        encoded.copy_(torch.tensordot(weights, image / 255, dims=1))
    return channel.numpy()


def event_frames(events: Tensor) -> Tensor:
    """Recordings (B, T, 2, H, W) as the network takes them, (T, B, 2, H, W)."""
    return events.transpose(0, 1)


def static_frames(images: Tensor, events: Tensor, replaced: Tensor) -> Tensor:
    """The static branch's frames (T, B, 2, H, W): images (B, 1, H, W) in both polarities at every step, or frames.

    Direct encoding. Where `replaced` (B,) is true, the whole clip of `events` (T, B, 2, H, W) takes its image's place.
    """
    return torch.where(replaced[:, None, None, None], events, images)
