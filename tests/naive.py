"""Naive twins of the frame kernels: the definitions, event by event, in Python's own whole numbers.

An event is a tuple (x, y, t, p). Slow and obvious on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Event = tuple[int, int, int, int]


def decode_records(data: bytes) -> list[Event]:
    """Events of raw 5-byte records; y = 240 is no event and adds 2**13 us to all later times."""
    events = []
    offset = 0
    for i in range(0, len(data), 5):
        x, y, b2, b3, b4 = data[i : i + 5]
        if y == 240:
            offset += 8192
        else:
            events.append((x, y, ((b2 & 127) << 16 | b3 << 8 | b4) + offset, b2 >> 7))
    return events


def encode_records(events: Sequence[Event]) -> bytes:
    """The inverse, with an overflow marker wherever a time does not fit into 23 bits with those before."""
    records = bytearray()
    offset = 0
    for x, y, t, p in events:
        while t - offset >= 1 << 23:
            records += bytes([0, 240, 0, 0, 0])
            offset += 8192
        time = t - offset
        records += bytes([x, y, p << 7 | time >> 16, time >> 8 & 255, time & 255])
    return bytes(records)


def bin_of(i: int, events: Sequence[Event], mode: str, num_bins: int, window_us: int | None) -> int | None:
    """The bin of event i, None when it is in none."""
    if mode == "count":
        size = len(events) // num_bins
        return i // size if size and i // size < num_bins else None
    first, last = events[0][2], events[-1][2]
    window = window_us if mode == "window" else (last - first) // num_bins
    k = (events[i][2] - first) // window if window else num_bins
    if mode == "exact":
        return min(k, num_bins - 1)
    return k if k < num_bins else None


def count(
    events: Sequence[Event],
    mode: str,
    num_bins: int,
    window_us: int | None,
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
) -> tuple[NDArray[np.int64], int]:
    """Counts (T, 2, H, W) and the number of events in no bin.

    `box` (x, y, width, height) is scaled to `shape` (H, W); of the same size there is nothing to scale.
    """
    left, top, width, height = box
    out = np.zeros((num_bins, 2, *shape), np.int64)
    num_dropped = 0
    for i, (x, y, _, p) in enumerate(events):
        k = bin_of(i, events, mode, num_bins, window_us)
        if k is None:
            num_dropped += 1
        else:
            out[k, p, (y - top) * shape[0] // height, (x - left) * shape[1] // width] += 1
    return out, num_dropped


def bounding_box(events: Sequence[Event]) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the smallest box with every event."""
    x, y = ([event[axis] for event in events] for axis in (0, 1))
    return min(x), min(y), max(x) - min(x) + 1, max(y) - min(y) + 1


def bilinear(image: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """One image (H, W) resized to (size, size) with aligned corners, in double precision."""

    def weights(length: int) -> NDArray[np.float64]:
        """(size, length): how much of each pixel of an axis is in each of the result."""
        positions = np.arange(size) * (length - 1) / max(size - 1, 1)
        return np.maximum(0, 1 - abs(positions[:, None] - np.arange(length)))

    return weights(image.shape[0]) @ image @ weights(image.shape[1]).T


def pixels_read(length: int, size: int) -> set[int]:
    """The pixels of an axis that an aligned bilinear resize reads with a weight above 0; positions are float32."""
    scale = np.float32(length - 1) / np.float32(size - 1) if size > 1 else np.float32(0)
    read = set()
    for i in range(size):
        position = np.float32(i) * scale
        pixel = min(int(position), length - 1)
        read.add(pixel)
        if position > pixel and pixel + 1 < length:
            read.add(pixel + 1)
    return read


def num_in_frames(
    events: Sequence[Event],
    mode: str,
    num_bins: int,
    window_us: int | None,
    box: tuple[int, int, int, int],
    size: int | None,
) -> int:
    """Events in a bin, at a pixel of `box` that a bilinear resize to `size` reads; at any pixel without a size."""
    left, top, width, height = box
    columns = pixels_read(width, size) if size else set(range(width))
    rows = pixels_read(height, size) if size else set(range(height))
    return sum(
        bin_of(i, events, mode, num_bins, window_us) is not None and x - left in columns and y - top in rows
        for i, (x, y, _, _) in enumerate(events)
    )
