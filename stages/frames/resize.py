"""Where a sensor's pixels land in a frame: the look-up tables and the taps of the kernels.

`plan_columns` and `plan_rows` choose, for each axis on its own, a small axis of counts and the table from sensor
coordinates to it:

- none, sum: the counts are the frame, sensor coordinate c lands in pixel (c - low) (* size // extent with sum).
- bilinear: an output pixel reads two rows and two columns (aligned corners, no antialiasing), so at most 2 S rows and
  2 S columns of the sensor matter. Only those are counted; every other event, also one that is read with the weight 0,
  goes to the spare row or column. In a row lie first the left columns of all output pixels, then the right ones, so
  that resizing reads neighbours; a column that several of them read is counted at as many places.

Counting straight into so small a frame keeps it in the processor's first cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps

import numpy as np
from numpy.typing import NDArray

from .kernels import ROW_OF_A_RECORD, Tables, Taps
from .vectors import LONGEST_LINE

RAW_ADDRESSES = 256
LONGEST_KEPT = 1280  # pixels: the longest side of a camera
"""x and y of a raw record are bytes."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of the counts: `length` pixels and the spare ones, and the table sensor coordinate -> pixel, (K, limit).

    taps: of a bilinear resize, rows in these pixels.
    """

    length: int
    table: NDArray[np.int64]
    taps: Taps | None = None


Plan = Callable[[int, int, int, str, int], Axis]


def kept_if_short(plan: Plan) -> Plan:
    """Recordings share few extents, so plans are kept: treat their arrays as read-only. Those of coordinates that no
    camera has, as damaged files state them, would fill the memory.
    """
    kept = lru_cache(maxsize=1024)(plan)

    @wraps(plan)
    def found(low: int, extent: int, limit: int, resize: str, size: int) -> Axis:
        return (kept if limit <= LONGEST_KEPT else plan)(low, extent, limit, resize, size)

    return found


# For events at low .. low + extent - 1 of `limit` addressable coordinates, and frames of `size` pixels. `extent` and
# `size` are at least 1, and extent <= size with resize "none".


@kept_if_short
def plan_columns(low: int, extent: int, limit: int, resize: str, size: int) -> Axis:
    """The columns; behind them lie the spare one and one for events that are counted at fewer places than others."""
    if resize != "bilinear":
        return _plan_pixels(low, extent, limit, resize, size)
    assert size <= LONGEST_LINE
    taps = bilinear_taps(extent, size)
    is_read = np.concatenate([np.ones(size, bool), taps.weight > 0])
    places = np.flatnonzero(is_read)
    pixels = np.concatenate([taps.first, taps.second])[is_read]
    order = np.argsort(pixels, kind="stable")
    places, pixels = places[order], pixels[order]
    ordinals = np.arange(pixels.size) - np.searchsorted(pixels, pixels)  # 0, 1, ... among the places of a pixel
    table = np.full((int(ordinals.max()) + 1, limit), 2 * size + 1)
    table[0] = 2 * size
    table[ordinals, low + pixels] = places
    return Axis(2 * size, table, taps)


@kept_if_short
def plan_rows(low: int, extent: int, limit: int, resize: str, size: int) -> Axis:
    """The rows; behind them lies the spare one."""
    if resize != "bilinear":
        return _plan_pixels(low, extent, limit, resize, size)
    taps = bilinear_taps(extent, size)
    weighs = taps.weight > 0  # the first tap always does
    used = np.zeros(extent, bool)
    used[taps.first] = used[taps.second[weighs]] = True
    length = int(used.sum())
    place = np.where(used, np.cumsum(used) - 1, length)
    taps = Taps(place[taps.first], place[np.where(weighs, taps.second, taps.first)], taps.weight)
    return Axis(length, _table(low, place, limit, spare=length), taps)


def _plan_pixels(low: int, extent: int, limit: int, resize: str, size: int) -> Axis:
    place = np.arange(extent) * size // extent if resize == "sum" else np.arange(extent)
    return Axis(size, _table(low, place, limit, spare=size))


def _table(low: int, place: NDArray[np.int64], limit: int, *, spare: int) -> NDArray[np.int64]:
    table = np.full((1, limit), spare)
    table[0, low : low + place.size] = place
    return table


@lru_cache(maxsize=8)
def address_tables(columns: Axis, rows: Axis) -> Tables:
    """The tables of the counting kernels, for counts of `counts_shape`; of at least the addresses of raw records."""
    _, height, width = counts_shape(columns, rows)
    flat = (rows.table[0][:, None] * width + np.array([0, height * width])).astype(np.uint32)
    record_rows = np.empty(ROW_OF_A_RECORD + 1, np.uint32)
    record_rows[:RAW_ADDRESSES], record_rows[-RAW_ADDRESSES:] = flat[:RAW_ADDRESSES].T
    return Tables(columns.table.astype(np.uint32), flat.reshape(-1), record_rows)


def counts_shape(columns: Axis, rows: Axis) -> tuple[int, int, int]:
    """(2, H, W) of the counts of a frame, spare pixels included."""
    return 2, rows.length + 1, columns.length + 2
