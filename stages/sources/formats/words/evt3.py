"""EVT 3.0 (docs.prophesee.ai, "EVT 3.0 Format"): little-endian words of 16 bits, their type in the upper four.

Words change what the next events have in common: EVT_ADDR_Y (0) the row, EVT_TIME_LOW (6) and EVT_TIME_HIGH (8) 12 bits
of the time in us each, VECT_BASE_X (3) the column and polarity of vectors. EVT_ADDR_X (2) is an event; VECT_12 (4) and
VECT_8 (5) are those whose bits are set, from the column on, which they move by 12 and 8.

The time of an event is the last EVT_TIME_LOW behind the EVT_TIME_HIGH that came before that word, as the page says; it
overflows every 16.8 s, and the times here go on; an EVT_TIME_HIGH that is up to 16 counts (66 ms) smaller than the one
before is a step back. One that is smaller still follows a silence: recordings that were joined, or damage, make a jump
forward. An EVT_TIME_LOW may be smaller than the one before it: the page calls
the values monotonic for one source of events, not for several. In a recording of a Gen4.1 this happens at every
millisecond: EVT_TIME_HIGH and EVT_TIME_LOW of some 10 us later, then the EVT_TIME_LOW of the events that follow. They
have the time of the last word, as the decoder `evt3` reads them too; faery never lets time step back, which makes 1,455
of its 219,596 events up to 11 us late.

Decoding starts with the first EVT_TIME_HIGH, as that of EVT 2.0, and with the first row: events before have no time or
place and are passed over. To the first EVT_TIME_LOW the lower bits are 0, which faery, for one, does not write. Passed
over, too, are EXT_TRIGGER (10), OTHERS (14), CONTINUED_4 (7) and
CONTINUED_12 (15), which are no events of pixels. Other types are reserved: a file with them is refused.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .evt2 import RESERVED
from .stream import NEVER, PROBLEM, ROOM, lowest_bit, unwrapped

WORD_BYTES: Final = 2
UNIT: Final = np.uint16
STATE: Final = (0, NEVER, 0, -1, 0, 0)  # that a file begins with
PROBLEMS: Final = (RESERVED, "a vector that reaches beyond column 2047; the file is damaged: fetch it again")
_U = np.uintp
_SINGLES: Final = np.uint32(1 << 0 | 1 << 2 | 1 << 6)


@njit(nogil=True, cache=True)
def decode(
    words: NDArray[np.uint16],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, upper bits of the time (`NEVER`: none yet), time in us, row (-1: none yet), column
    and polarity.

    Words of events, rows and times follow each other in no order, so masks and no branch tell them apart: each is
    written as if it were an event, and what was none is overwritten. x has the polarity in bit 11 until the end.
    """
    high, time, row, column, polarity = state[1], state[2], state[3], np.uint32(state[4]), np.uint32(state[5])
    row_now = np.uint16(row)
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    while at < _U(words.size) and n <= last:
        started = high > NEVER and row >= 0
        if started:
            base = high << 12
            stop = min(_U(words.size), at + (last - n) + _U(1))
            while at < stop:
                word = words[at]
                kind = np.uint32(word >> np.uint16(12))
                if not (_SINGLES >> kind) & np.uint32(1):
                    break
                x[n] = word
                y[n] = row_now
                t[n] = time
                row_now ^= (row_now ^ (word & np.uint16(0x7FF))) & np.uint16(-np.int32(kind == 0))
                time ^= (time ^ (base | np.int64(word & np.uint16(0xFFF)))) & -np.int64(kind == 6)
                n += _U(kind == 2)
                at += _U(1)
            if at == stop:
                continue
        word = words[at]
        kind = np.uint32(word >> np.uint16(12))
        if kind == 4 or kind == 5:
            is_long = kind == 4
            valid = np.uint32(word) & np.uint32(0xFFF if is_long else 0xFF) if started else np.uint32(0)
            if valid and column > 0x7FF - 11 and (valid >> (np.uint32(0x800) - min(column, np.uint32(0x800)))):
                state[PROBLEM] = 2
                break
            while valid:
                x[n] = (polarity << np.uint32(11)) | (column + lowest_bit(valid))
                y[n] = row_now
                t[n] = time
                n += _U(1)
                valid &= valid - np.uint32(1)
            column += np.uint32(12 if is_long else 8)
        elif kind == 3:
            column = np.uint32(word & np.uint16(0x7FF))
            polarity = np.uint32(word >> np.uint16(11)) & np.uint32(1)
        elif kind == 8:
            bits = np.int64(word & np.uint16(0xFFF))
            if high > NEVER:
                high = unwrapped(high, bits, 12, 4)
            else:
                high, time = bits, bits << 12
        elif kind == 0:
            row_now, row = word & np.uint16(0x7FF), np.int64(0)
        elif kind == 6:
            if high > NEVER:
                time = (high << 12) | np.int64(word & np.uint16(0xFFF))
        elif kind != 2 and kind != 7 and kind != 10 and kind < 14:
            state[PROBLEM] = 1
            break
        at += _U(1)
    for i in range(n):
        p[_U(i)] = (x[_U(i)] >> np.uint16(11)) & np.uint16(1)
        x[_U(i)] &= np.uint16(0x7FF)
    state[1], state[2], state[3] = high, time, np.int64(row_now) if row >= 0 else row
    state[4], state[5] = np.int64(column), np.int64(polarity)
    return int(at), int(n)
