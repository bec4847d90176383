"""Where a sensor's pixels land in a frame: the look-up tables and the taps of the kernels.

`plan_axis` chooses, for each axis on its own, a small axis of counts and the table from sensor coordinates to it:

- none, sum: the counts are the frame, sensor coordinate c lands in pixel (c - low) (* size // extent with sum).
- bilinear: an output pixel reads two rows and two columns (aligned corners, no antialiasing), so at most 2 S rows and
  2 S columns of the sensor matter. Only those are counted; every other event, also one that is read with the weight 0,
  goes to the spare row or column.

Counting straight into so small a frame keeps it in the processor's first cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .kernels import Tables, Taps


def bilinear_taps(length: int, size: int) -> Taps:
    """Taps with aligned corners: output pixel i lies at i * (length - 1) / (size - 1) (at 0 if size is 1).

    In float32, step by step as torch.nn.functional.interpolate does: at pixel 200 a float32 position is off by up to
    1e-5, which would show as a difference of 1e-5 of a count.
    """
    scale = np.float32(length - 1) / np.float32(size - 1) if size > 1 else np.float32(0)
    return _taps_at(np.arange(size, dtype=np.float32) * scale, length)


def half_pixel_taps(length: int, size: int) -> Taps:
    """Taps between pixel centres: output pixel i lies at (i + 1/2) length / size - 1/2, but inside the image."""
    scale = np.float32(length) / np.float32(size)
    position = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    return _taps_at(np.maximum(position, np.float32(0)), length)


def _taps_at(position: NDArray[np.float32], length: int) -> Taps:
    first = np.minimum(position.astype(np.int64), length - 1)
    second = np.minimum(first + 1, length - 1)
    weight = np.where(second > first, position - first.astype(np.float32), np.float32(0))
    return Taps(first, second, weight)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the counts: `length` pixels and a spare one, and the table sensor coordinate -> pixel.

    taps: of a bilinear resize, in these pixels.
    """

    length: int
    table: NDArray[np.int64]
    taps: Taps | None = None


@lru_cache(maxsize=1024)
def plan_axis(low: int, extent: int, limit: int, resize: str, size: int) -> Axis:
    """The axis for events at low .. low + extent - 1 of `limit` addressable coordinates, and frames of `size` pixels.

    `extent` and `size` are at least 1, and extent <= size with resize "none". Recordings share few extents, so plans
    are kept: treat the arrays as read-only.
    """
    if resize == "bilinear":
        return _plan_bilinear(low, extent, limit, bilinear_taps(extent, size))
    place = np.arange(extent) * size // extent if resize == "sum" else np.arange(extent)
    return Axis(size, _table(low, place, limit, spare=size))


def _plan_bilinear(low: int, extent: int, limit: int, taps: Taps) -> Axis:
    size = taps.first.size
    weighs = taps.weight > 0  # the first tap always does
    if (taps.second[:-1] < taps.first[1:]).all():  # no pixel is read twice: all the first ones, then all the second
        length = 2 * size
        first, second = np.arange(size), size + np.arange(size)
        place = np.full(extent, length)
        place[taps.second[weighs]] = second[weighs]
        place[taps.first] = first
        taps = Taps(first, second, taps.weight, in_planes=True)
    else:
        used = np.zeros(extent, bool)
        used[taps.first] = used[taps.second[weighs]] = True
        length = int(used.sum())
        place = np.where(used, np.cumsum(used) - 1, length)
        taps = Taps(place[taps.first], place[np.where(weighs, taps.second, taps.first)], taps.weight)
    return Axis(length, _table(low, place, limit, spare=length), taps)


def _table(low: int, place: NDArray[np.int64], limit: int, *, spare: int) -> NDArray[np.int64]:
    table = np.full(limit, spare)
    table[low : low + place.size] = place
    return table


def address_tables(x_axis: Axis, y_axis: Axis) -> Tables:
    """The tables of the counting kernels, for counts of (2, y length + 1, x length + 1)."""
    width, height = x_axis.length + 1, y_axis.length + 1
    rows = y_axis.table[:, None] * width + np.array([0, height * width])
    return Tables(x_axis.table.astype(np.uint32), rows.reshape(-1).astype(np.uint32))
