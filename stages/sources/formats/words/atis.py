"""The 40-bit records of the ATIS camera, N-Caltech101's and N-MNIST's (Orchard et al. 2015): see `sources.atis`.

The frame kernels count such records without decoding them; this is for whoever wants their events.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .stream import PROBLEM, ROOM, Words

RECORD_BYTES: Final = 5
_OVERFLOW_ROW: Final = 240
_U = np.uintp


def words_of(last_row: int = _OVERFLOW_ROW) -> Words:
    """last_row: records of a greater y are refused."""
    problem = f"y is no row: greater than {last_row}; fetch it again"
    return Words(decode, 0, np.uint8, (0, 0, last_row), RECORD_BYTES, (problem,), word_bytes=RECORD_BYTES)


@njit(nogil=True, cache=True)
def decode(
    data: NDArray[np.uint8],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, us that overflow markers have added, last row that there is."""
    offset_us = state[1]
    last_row = state[2]
    count = min(data.size // 5, t.size - ROOM)
    used = count
    n = _U(0)
    for i in range(count):
        at = _U(5 * i)
        row = np.int64(data[at + _U(1)])
        if row > last_row:
            state[PROBLEM] = 1
            used = i
            break
        is_event = row != _OVERFLOW_ROW
        time_bits = (np.int64(data[at + _U(2)] & np.uint8(127)) << 16) | (np.int64(data[at + _U(3)]) << 8)
        x[n] = data[at]
        y[n] = row
        t[n] = offset_us + (time_bits | np.int64(data[at + _U(4)]))
        p[n] = data[at + _U(2)] >> np.uint8(7)
        n += _U(is_event)
        offset_us += np.int64(not is_event) << 13
    state[1] = offset_us
    return 5 * used, int(n)
