"""The numba kernels between recordings and frames: serial, nogil, no configuration, no input or output.

Counting does not look at time or geometry. `bin_edges` says which records belong to which bin, two look-up tables say
where in the frame an address lies: `columns[:, x]`, and `rows[2 * y + p]`, which holds polarity and row at once:
shifting to the origin, cropping, summing into a smaller frame and leaving out the pixels that a bilinear resize never
reads are all the same loop with other tables. Unwanted events go to a spare last row or column: no branch for each
event, and how many they were is the sum of these.

Counts are narrow (uint16) where no bin has more than `MOST_NARROW` of them: the frames being counted then stay in the
processor's first cache, and float16 holds every value that a resize makes of them.

The kernels trust their arguments: `checked.py` is the only caller for recordings, and checks every range first.
For the form of raw records see `records.py`.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit
from numpy.typing import NDArray

from .vectors import LONGEST_LINE, RECORD_BYTES, first_bytes, stack_line

Counts = NDArray[np.uint16 | np.uint32]


ROW_OF_A_RECORD = 0x80FF  # of its second and third byte, little endian: y and the polarity
MOST_NARROW = 65504  # the largest float16; a uint16 holds it

_BLOCK = 256
_LARGEST_HALF = np.float32(MOST_NARROW)
_SMALLEST_NORMAL_HALF = np.float32(2.0**-14).view(np.uint32)
_BITS_OF_A_HALF = np.float32(0.5).view(np.uint32)
_TO_HALF = np.uint32(0xFFF + 2**32 - (112 << 23))  # half a step less one, and the other exponent, modulo 2**32

_U = np.uintp  # unsigned indices spare the test for negative ones


class Tables(NamedTuple):
    """Where an address lies in a frame (H, W) of both polarities, flat: rows[2 * y + p] + columns[k, x].

    columns: (K, width) uint32: an event is counted at K places of its row.  rows: (2 * height,) uint32.
    record_rows: (33024,) uint32, the same at the second and third byte of a raw record, little endian, without the bits
    of its time: at y and at 2**15 + y; the others are not set.
    """

    columns: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    record_rows: NDArray[np.uint32]


class Taps(NamedTuple):
    """The two source pixels that each of S output pixels reads along one axis, and the weight of the second.

    first, second: (S,) int64.  weight: (S,) float32.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float32]


@njit(nogil=True, cache=True)
def count_events(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16] | None,
    p: NDArray[np.uint8] | None,
    bin_edges: NDArray[np.int64],
    tables: Tables,
    out: Counts,
) -> None:
    """Add the events bin_edges[k] <= i < bin_edges[k + 1] to frame k.

    x, y, p: (n,); y and p None: x are raw records (5 * n,) uint8, and the branch for it is chosen by the compiler.
    bin_edges: (T + 1,), ascending, 0 to n.  tables: the sensor's width and 2 * height at least, of records 256 and 512.
    out: (T, 2, H, W), C order, of a type that holds K times the events of a bin.
    """
    frame_size = _U(out.shape[1] * out.shape[2] * out.shape[3])
    flat = out.reshape(-1)
    for k in range(out.shape[0]):
        frame = flat[_U(k) * frame_size : _U(k + 1) * frame_size]
        for place in range(tables.columns.shape[0]):
            columns = tables.columns[place]
            for i in range(bin_edges[k], bin_edges[k + 1]):
                if y is None:
                    head = first_bytes(x, _U(i) * _U(RECORD_BYTES))
                    row = tables.record_rows[_U(head >> np.uint32(8)) & _U(ROW_OF_A_RECORD)]
                    column = columns[_U(head) & _U(255)]
                else:
                    row = tables.rows[(_U(y[_U(i)]) << _U(1)) | _U(p[_U(i)])]  # type: ignore[index]
                    column = columns[x[_U(i)]]
                frame[_U(row) + _U(column)] += np.uint16(1)


def count_records(data: NDArray[np.uint8], bin_edges: NDArray[np.int64], tables: Tables, out: Counts) -> None:
    """As `count_events`, for raw records (5 * n,)."""
    count_events(data, None, None, bin_edges, tables, out)


@njit(nogil=True, inline="always")
def _half_bits(value):  # type: ignore[no-untyped-def]  # inlined into the kernels below
    """The bits of a float32 from 0 to 65504 as float16, rounded to nearest, ties to even.

    IEEE 754: float32 has 13 bits more of mantissa, and 112 is added to its exponent. Below 2**-14 the steps of float16
    are even: those of float32 at 0.5. (numpy converts value by value, which takes as long as counting the events.)
    """
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(13)) & np.uint32(1))
    normal = np.uint32(np.uint32(bits + _TO_HALF) + odd) >> np.uint32(13)
    tiny = np.uint32(np.float32(value + np.float32(0.5)).view(np.uint32) - _BITS_OF_A_HALF)
    return np.uint16(normal if bits >= _SMALLEST_NORMAL_HALF else tiny)


@njit(nogil=True, cache=True)
def resize_bilinear(
    counts: Counts, rows: Taps, weights: NDArray[np.float32], out: NDArray[np.float32] | NDArray[np.uint16]
) -> None:
    """Each output pixel from two rows and two columns of the counts.

    counts: (N, H, W), in each row first the left columns of the output pixels, then the right ones.  rows: S taps.
    weights: (R,), of the right columns.  out: (N, S, R), filled; uint16: the bits of float16, for narrow counts.
    """
    size = out.shape[2]
    one = np.float32(1)
    line = carray(stack_line(), (LONGEST_LINE,))
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            above, below = counts[n, rows.first[i]], counts[n, rows.second[i]]
            right_above, right_below = above[size : 2 * size], below[size : 2 * size]
            weight = rows.weight[i]
            for j in range(size):
                left = np.float32(above[j]) * (one - weight) + np.float32(below[j]) * weight
                right = np.float32(right_above[j]) * (one - weight) + np.float32(right_below[j]) * weight
                line[j] = left * (one - weights[j]) + right * weights[j]
            pixels = out[n, i]
            if out.itemsize == 2:
                for j in range(size):
                    pixels[j] = _half_bits(line[j])
            else:
                for j in range(size):
                    pixels[j] = line[j]


@njit(nogil=True, cache=True)
def num_spare(counts: Counts, num_places: int) -> np.int64:
    """How many events no output pixel reads: those of the spare row, and of the spare column of the other rows.

    counts: (N, H, W); the spare row is the last one, the spare column the last but the one where events go that are
    counted at fewer places than the others.  num_places: K, at how many places each event is counted.
    """
    in_row = in_column = np.int64(0)
    for n in range(counts.shape[0]):
        for i in range(counts.shape[1] - 1):
            in_column += np.int64(counts[n, i, counts.shape[2] - 2])
        for j in range(counts.shape[2]):
            in_row += np.int64(counts[n, counts.shape[1] - 1, j])
    return in_column + in_row // num_places


@njit(nogil=True, cache=True)
def resize_events(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16] | None,
    p: NDArray[np.uint8] | None,
    bin_edges: NDArray[np.int64],
    tables: Tables,
    rows: Taps,
    weights: NDArray[np.float32],
    counts: Counts,
    out: NDArray[np.float32] | NDArray[np.uint16],
) -> np.int64:
    """`count_events` and `resize_bilinear`, bin by bin, so that one bin's counts stay in the cache.

    Returns how many of the events no output pixel reads.
    counts: (1, 2, H, W), overwritten.  out: (T, 2, S, S), filled.
    """
    num_unread = np.int64(0)
    for k in range(out.shape[0]):
        counts[:] = 0
        count_events(x, y, p, bin_edges[k : k + 2], tables, counts)
        resize_bilinear(counts[0], rows, weights, out[k])
        num_unread += num_spare(counts[0], tables.columns.shape[0])
    return num_unread


def resize_records(data: NDArray[np.uint8], *arguments: Any) -> int:
    """As `resize_events`, for raw records (5 * n,)."""
    return int(resize_events(data, None, None, *arguments))


@njit(nogil=True, cache=True)
def store_half(values: NDArray[np.float32], out: NDArray[np.uint16]) -> np.int64:
    """The bits of values as float16, rounded to nearest, ties to even; returns how many were above 65504 and clipped.

    values, out: (n,); values not negative, no NaN.
    """
    num_clipped = np.int64(0)
    for start in range(0, values.size, _BLOCK):
        part = values[start : start + _BLOCK]
        part_out = out[start : start + _BLOCK]
        clipped = np.uint32(0)
        for i in range(part.size):
            clipped += np.uint32(part[i] > _LARGEST_HALF)
            part_out[i] = _half_bits(min(part[i], _LARGEST_HALF))
        num_clipped += np.int64(clipped)
    return num_clipped
