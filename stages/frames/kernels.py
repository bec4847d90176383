"""The numba kernels between recordings and frames: serial, nogil, no configuration, no input or output.

Counting does not look at time or geometry. `bin_edges` says which records belong to which bin, two look-up tables say
where in the frame an address lies: `columns[x]`, and `rows[2 * y + p]`, which holds polarity and row at once: shifting
to the origin, cropping, summing into a smaller frame and leaving out the pixels that a bilinear resize never reads are
all the same loop with other tables. Unwanted events go to a spare last row or column: no branch for each event, and how
many they were is the sum of these.

The kernels trust their arguments: `checked.py` is the only caller for recordings, and checks every range first.

Raw records (N-Caltech101, N-MNIST; Orchard et al. 2015): 5 bytes: x, y, then polarity (1 bit) and time in us (23 bits),
big endian. y = 240 is no event but adds 2**13 us to all later times.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

RECORD_BYTES = 5
OVERFLOW_Y = 240
OVERFLOW_US = 1 << 13

_BLOCK = 256  # records; a loop over a block of fixed length becomes vector instructions
_BLOCK_BYTES = _BLOCK * RECORD_BYTES
_U = np.uintp  # unsigned indices spare the test for negative ones

_LARGEST_HALF = np.float32(65504).view(np.uint32)
_SMALLEST_NORMAL_HALF = np.float32(2.0**-14).view(np.uint32)
_BITS_OF_A_HALF = np.float32(0.5).view(np.uint32)


class Tables(NamedTuple):
    """Where an address lies in a frame (H, W) of both polarities, flat: rows[2 * y + p] + columns[x]."""

    columns: NDArray[np.uint32]
    rows: NDArray[np.uint32]


class Taps(NamedTuple):
    """The two source pixels that each of S output pixels reads along one axis, and the weight of the second.

    first, second: (S,) int64.  weight: (S,) float32.
    in_planes: pixel i reads the source pixels i and S + i, which needs no gathering.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]
    in_planes: bool = False


@njit(nogil=True, cache=True)
def count_events(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16] | None,
    p: NDArray[np.uint8] | None,
    bin_edges: NDArray[np.int64],
    tables: Tables,
    out: NDArray[np.uint32],
) -> None:
    """Add the events bin_edges[k] <= i < bin_edges[k + 1] to frame k.

    x, y, p: (n,); y and p None: x are raw records (5 * n,) uint8, and the branch for it is chosen by the compiler.
    bin_edges: (T + 1,), ascending, 0 to n.  tables: the sensor's width and 2 * height at least, of records 256 and 512.
    out: (T, 2, H, W), C order.
    """
    frame_size = _U(out.shape[1] * out.shape[2] * out.shape[3])
    flat = out.reshape(-1)
    for k in range(out.shape[0]):
        frame = _U(k) * frame_size
        for i in range(bin_edges[k], bin_edges[k + 1]):
            if y is None:
                at = _U(i) * _U(RECORD_BYTES)
                address = (_U(x[at + _U(1)]) << _U(1)) | (_U(x[at + _U(2)]) >> _U(7))
            else:
                at = _U(i)
                address = (_U(y[at]) << _U(1)) | _U(p[at])  # type: ignore[index]
            flat[frame + _U(tables.rows[address]) + _U(tables.columns[x[at]])] += np.uint32(1)


def count_records(
    data: NDArray[np.uint8], bin_edges: NDArray[np.int64], tables: Tables, out: NDArray[np.uint32]
) -> None:
    """As `count_events`, for raw records (5 * n,)."""
    count_events(data, None, None, bin_edges, tables, out)


@njit(nogil=True, cache=True)
def byte_ranges(data: NDArray[np.uint8], low: NDArray[np.uint8], high: NDArray[np.uint8]) -> None:
    """Lowest and highest value of each of the five bytes over all records.

    data: (5 * n,), n > 0.  low, high: (5,), filled.
    """
    block_low = np.full(_BLOCK_BYTES, 255, np.uint8)
    block_high = np.zeros(_BLOCK_BYTES, np.uint8)
    for start in range(0, data.size, _BLOCK_BYTES):
        part = data[start : start + _BLOCK_BYTES]
        for i in range(part.size):
            block_low[i] = min(block_low[i], part[i])
            block_high[i] = max(block_high[i], part[i])
    low[:] = 255
    high[:] = 0
    for i in range(_BLOCK_BYTES):
        low[i % RECORD_BYTES] = min(low[i % RECORD_BYTES], block_low[i])
        high[i % RECORD_BYTES] = max(high[i % RECORD_BYTES], block_high[i])


@njit(nogil=True, inline="always")
def _time_bits(data, at):  # type: ignore[no-untyped-def]  # inlined into the kernels below
    return (
        (np.int32(data[at + _U(2)] & np.uint8(127)) << np.int32(16))
        | (np.int32(data[at + _U(3)]) << np.int32(8))
        | np.int32(data[at + _U(4)])
    )


@njit(nogil=True, cache=True)
def record_time(data: NDArray[np.uint8], i: int) -> np.int64:
    """The 23 time bits of record i, in us, without the overflows before it."""
    return np.int64(_time_bits(data, _U(i) * _U(RECORD_BYTES)))


@njit(nogil=True, cache=True)
def first_unordered_record(data: NDArray[np.uint8], markers: NDArray[np.int64]) -> int:
    """Index of the first event that is earlier than the one before it, or -1.

    data: (5 * n,).  markers: the indices of the overflow records, ascending, then n.
    """
    times = np.empty(_BLOCK + 1, np.int32)
    first = 0
    last_us = np.int64(0)
    for segment in range(markers.size):
        stop = markers[segment]
        offset_us = np.int64(segment) * OVERFLOW_US
        if first < stop and record_time(data, first) + offset_us < last_us:
            return first
        times[0] = 0
        for start in range(first, stop, _BLOCK):
            part = data[start * RECORD_BYTES : min(start + _BLOCK, stop) * RECORD_BYTES]
            length = part.size // RECORD_BYTES
            for i in range(length):
                times[i + 1] = _time_bits(part, _U(i) * _U(RECORD_BYTES))
            backwards = np.int32(0)
            for i in range(length):
                backwards |= times[i + 1] - times[i]  # negative as soon as one difference is
            if backwards < 0:
                for i in range(length):
                    if times[i + 1] < times[i]:
                        return start + i
            times[0] = times[length]
        if first < stop:
            last_us = np.int64(times[0]) + offset_us
        first = stop + 1
    return -1


@njit(nogil=True, cache=True)
def record_edges(
    data: NDArray[np.uint8], markers: NDArray[np.int64], edges: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    """Index of the first event at or after each edge (n where there is none), by binary search.

    data: (5 * n,), ordered.  markers: the indices of the overflow records, ascending, then n.
    edges: (m,), ascending, us.  out: (m,), filled.
    """
    k = 0
    first = 0
    for segment in range(markers.size):
        stop = markers[segment]
        offset_us = np.int64(segment) * OVERFLOW_US
        while k < edges.size:
            low, high = first, stop
            while low < high:
                middle = (low + high) // 2
                if record_time(data, middle) + offset_us < edges[k]:
                    low = middle + 1
                else:
                    high = middle
            if low == stop:
                break
            out[k] = low
            k += 1
        first = stop + 1
    out[k:] = data.size // RECORD_BYTES


@njit(nogil=True, cache=True)
def resize_bilinear(counts: NDArray[np.uint32], rows: Taps, columns: Taps, out: NDArray[np.float32]) -> None:
    """Each output pixel from two rows and two columns of the counts.

    counts: (N, H, W).  rows: S taps.  columns: R taps.  out: (N, S, R), filled.
    """
    size = out.shape[2]
    line = np.empty(counts.shape[2], np.float32)
    left = line[:size] if columns.in_planes else np.empty(size, np.float32)
    right = line[size : 2 * size] if columns.in_planes else np.empty(size, np.float32)
    one = np.float32(1)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            above = counts[n, rows.first[i]]
            below = counts[n, rows.second[i]]
            weight = rows.weight[i]
            for j in range(line.size):
                line[j] = np.float32(above[j]) * (one - weight) + np.float32(below[j]) * weight
            if not columns.in_planes:
                for j in range(size):
                    left[j] = line[_U(columns.first[j])]
                    right[j] = line[_U(columns.second[j])]
            pixels = out[n, i]
            for j in range(size):
                pixels[j] = left[j] * (one - columns.weight[j]) + right[j] * columns.weight[j]


@njit(nogil=True, cache=True)
def num_spare(counts: NDArray[np.uint32]) -> np.int64:
    """How many records lie in the spare last row and column. counts: (N, H, W)."""
    total = np.int64(0)
    for n in range(counts.shape[0]):
        for i in range(counts.shape[1] - 1):
            total += np.int64(counts[n, i, counts.shape[2] - 1])
        for j in range(counts.shape[2]):
            total += np.int64(counts[n, counts.shape[1] - 1, j])
    return total


@njit(nogil=True, cache=True)
def resize_events(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16] | None,
    p: NDArray[np.uint8] | None,
    bin_edges: NDArray[np.int64],
    tables: Tables,
    taps: tuple[Taps, Taps],
    counts: NDArray[np.uint32],
    out: NDArray[np.float32],
) -> np.int64:
    """`count_events` and `resize_bilinear`, bin by bin, so that one bin's counts stay in the cache.

    Returns how many of the events no output pixel reads.
    taps: of rows and columns.  counts: (1, 2, H, W), overwritten.  out: (T, 2, S, S), filled.
    """
    num_unread = np.int64(0)
    for k in range(out.shape[0]):
        counts[:] = 0
        count_events(x, y, p, bin_edges[k : k + 2], tables, counts)
        resize_bilinear(counts[0], taps[0], taps[1], out[k])
        num_unread += num_spare(counts[0])
    return num_unread


def resize_records(data: NDArray[np.uint8], *arguments: Any) -> int:
    """As `resize_events`, for raw records (5 * n,)."""
    return int(resize_events(data, None, None, *arguments))


@njit(nogil=True, cache=True)
def store_half(values: NDArray[np.float32], out: NDArray[np.uint16]) -> np.int64:
    """The bits of values as float16, rounded to nearest, ties to even; returns how many were above 65504 and clipped.

    values, out: (n,); values not negative, no NaN. IEEE 754: float32 has 13 bits more of mantissa, and 112 is added to
    its exponent. (numpy converts value by value, which takes as long as counting the events.)
    """
    bits = values.view(np.uint32)
    shifted = np.empty(_BLOCK, np.float32)
    shifted_bits = shifted.view(np.uint32)
    num_clipped = np.int64(0)
    for start in range(0, values.size, _BLOCK):
        part = values[start : start + _BLOCK]
        part_bits = bits[start : start + _BLOCK]
        part_out = out[start : start + _BLOCK]
        for i in range(part.size):
            shifted[i] = part[i] + np.float32(0.5)  # below 2**-14 the steps are even: those of float32 at 0.5
        clipped = np.uint32(0)
        for i in range(part.size):
            b = part_bits[i]
            clipped += np.uint32(b > _LARGEST_HALF)
            b = min(b, _LARGEST_HALF)
            odd = (b >> np.uint32(13)) & np.uint32(1)
            normal = (b - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
            tiny = shifted_bits[i] - _BITS_OF_A_HALF
            part_out[i] = np.uint16(normal if b >= _SMALLEST_NORMAL_HALF else tiny)
        num_clipped += np.int64(clipped)
    return num_clipped
