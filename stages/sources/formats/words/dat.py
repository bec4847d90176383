"""DAT 1 and 2, Prophesee's decoded events (docs.prophesee.ai, "DAT File Format").

Behind the header two bytes: type of the events (0 "Event2d", 12 "EventCd"; N-CARS has the first) and bytes of each, 8.
Then two little-endian uint32 for each event: time in us; and, from the lowest bit, in version 2 x (14 bits), y (14) and
polarity (4, of which the lowest is used), in version 1 x (9), y (8) and polarity (1). Times that overflow go on.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess, num_records
from .stream import ROOM, Words

WORD_BYTES: Final = 8
_TYPES: Final = {0: "Event2d", 12: "EventCd"}
_FIELDS: Final = {"1": (9, 8), "2": (14, 14)}  # bits of x and of y
_BLOCK: Final = 128
_HALF: Final = 1 << 31
_U = np.uintp


def words_of(
    content: RandomAccess, start: int, version: str | None, sensor_size: tuple[int, int] | None, first_us: int
) -> Words:
    """Raises SourceError: another version or type of events, or cut off."""
    kind = content.read_at(start, 2)
    if version not in _FIELDS:
        told = f"version {version}" if version else "a version that it does not tell"
        raise SourceError(f"{content.location}: DAT of {told}; 1 and 2 are read: convert it (Metavision SDK)")
    num_records(content.size - start - 2, WORD_BYTES, content.location, start + 2)
    if kind[0] not in _TYPES or kind[1] != WORD_BYTES:
        raise SourceError(
            f"{content.location}: byte {start}: DAT with events of type {kind[0]} and {kind[1]} bytes; type 0 and 12 "
            f"(change detection) of {WORD_BYTES} bytes are read: is it another file, such as one of triggers?"
        )
    return Words(
        decode,
        start + 2,
        np.uint64,
        (0, 0, 0, *_FIELDS[version]),
        WORD_BYTES,
        sensor_size=sensor_size,
        word_bytes=WORD_BYTES,
        first_us=first_us,
    )


@njit(nogil=True, cache=True)
def decode(
    words: NDArray[np.uint64],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, whether there was an event, time of the last one in us, bits of x, bits of y.

    Blocks in which the time neither steps back nor overflows are decoded in vector instructions, others once more.
    """
    y_shift = np.uint32(state[3])
    p_shift = np.uint32(state[3] + state[4])
    x_mask = (np.uint32(1) << y_shift) - np.uint32(1)
    y_mask = (np.uint32(1) << np.uint32(state[4])) - np.uint32(1)
    count = min(words.size, t.size - ROOM)
    time = state[2]
    if count > 0 and not state[1]:
        state[1] = 1
        time = np.int64(np.uint32(words[0]))
    for start in range(0, count, _BLOCK):
        if start + _BLOCK <= count:  # so that all loops have as many rounds, which the compiler makes use of
            stop = start + _BLOCK
            part, t_part = words[start:stop], t[start:stop]
            x_part, y_part, p_part = x[start:stop], y[start:stop], p[start:stop]
            offset = time - np.int64(np.uint32(time))
            for i in range(_BLOCK):
                t_part[i] = offset + np.int64(np.uint32(part[i]))
            for i in range(_BLOCK):
                x_part[i] = np.uint32(part[i] >> np.uint64(32)) & x_mask
            for i in range(_BLOCK):
                y_part[i] = (np.uint32(part[i] >> np.uint64(32)) >> y_shift) & y_mask
            for i in range(_BLOCK):
                p_part[i] = (np.uint32(part[i] >> np.uint64(32)) >> p_shift) & np.uint32(1)
            steps = t_part[0] - time  # its sign is that of any step backwards
            for i in range(_BLOCK - 1):
                steps |= t_part[i + 1] - t_part[i]
            if steps >= 0 and t_part[_BLOCK - 1] - time < _HALF:
                time = t_part[_BLOCK - 1]
                continue
        for i in range(start, min(start + _BLOCK, count)):
            at = _U(i)
            fields = np.uint32(words[at] >> np.uint64(32))
            time += np.int64(np.int32(np.uint32(np.int64(np.uint32(words[at])) - time)))
            x[at] = fields & x_mask
            y[at] = (fields >> y_shift) & y_mask
            t[at] = time
            p[at] = (fields >> p_shift) & np.uint32(1)
    state[2] = time
    return count, count
