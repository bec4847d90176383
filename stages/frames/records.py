"""The numba kernels that look at raw records (N-Caltech101, N-MNIST; Orchard et al. 2015) without decoding them.

A record has 5 bytes: x, y, then polarity (1 bit) and time in us (23 bits), big endian. y = 240 is no event but adds
2**13 us to all later times.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .vectors import BYTES_SEEN, RECORD_BYTES, RECORDS_AT_ONCE, look_at_records

OVERFLOW_Y = 240
OVERFLOW_US = 1 << 13

_BLOCK = 256  # records; a loop over a block of fixed length becomes vector instructions
_U = np.uintp  # unsigned indices spare the test for negative ones


@njit(nogil=True, cache=True)
def check_records(data: NDArray[np.uint8], found: NDArray[np.int64]) -> bool:
    """Lowest and highest of x and of y, overflow records included; whether no time bits are before the last ones.

    data: (5 * n,), C order, n > 0.  found: (4,), filled.
    """
    low = np.full(BYTES_SEEN, 255, np.uint8)
    high = np.zeros(BYTES_SEEN, np.uint8)
    backwards = False
    at = 0
    while at + RECORD_BYTES + BYTES_SEEN <= data.size:
        backwards |= look_at_records(data, _U(at), low, high)
        at += RECORDS_AT_ONCE * RECORD_BYTES
    last = np.int32(0)
    for i in range(at // RECORD_BYTES, data.size // RECORD_BYTES):
        for byte in range(2):
            low[byte] = min(low[byte], data[i * RECORD_BYTES + byte])
            high[byte] = max(high[byte], data[i * RECORD_BYTES + byte])
        time = _time_bits(data, _U(i) * _U(RECORD_BYTES))
        backwards |= time < last
        last = time
    for byte in range(2):
        found[2 * byte], found[2 * byte + 1] = low[byte::RECORD_BYTES].min(), high[byte::RECORD_BYTES].max()
    return not backwards


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
