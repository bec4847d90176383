"""EVT 4: little-endian words of 32 bits, their type in the upper four, as OpenEB lists them (evt4_event_types.h, whose
tests say what vectors mean).

CD_OFF (10) and CD_ON (11): the 6 lower bits of the time in us, x (11 bits), y (11). CD_VEC_OFF (12) and CD_VEC_ON (13):
the same, and the next word has a bit for each event: bit n for one at x + n. EVT_TIME_HIGH (14): the 28 upper bits of
the time, of 34; it goes on where they overflow. Decoding starts with the first EVT_TIME_HIGH. OTHER (6), CONTINUED (7),
EXT_TRIGGER (9) and PADDING (15) are no events of pixels; a file with other types is refused.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .evt2 import RESERVED
from .stream import NEVER, PROBLEM, ROOM, lowest_bit, unwrapped

WORD_BYTES: Final = 4
UNIT: Final = np.uint32
STATE: Final = (0, NEVER)  # that a file begins with
PROBLEMS: Final = (RESERVED,)
_U = np.uintp


@njit(nogil=True, cache=True)
def decode(
    words: NDArray[np.uint32],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, upper bits of the time (`NEVER`: none yet)."""
    high = state[1]
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    while at < _U(words.size) and n <= last:
        word = words[at]
        kind = word >> np.uint32(28)
        if kind >= 10 and kind <= 13:
            valid = np.uint32(1)
            if kind >= 12:
                if at + _U(1) == _U(words.size):
                    break
                at += _U(1)
                valid = words[at]
            if high == NEVER:
                valid = np.uint32(0)
            column = (word >> np.uint32(11)) & np.uint32(0x7FF)
            row = word & np.uint32(0x7FF)
            time = (high << 6) | np.int64((word >> np.uint32(22)) & np.uint32(0x3F))
            while valid:
                x[n] = column + lowest_bit(valid)
                y[n] = row
                t[n] = time
                p[n] = kind & np.uint32(1)
                n += _U(1)
                valid &= valid - np.uint32(1)
        elif kind == 14:
            bits = np.int64(word & np.uint32(0x0FFF_FFFF))
            high = unwrapped(high, bits, 28, 27) if high > NEVER else bits
        elif kind < 6 or kind == 8:
            state[PROBLEM] = 1
            break
        at += _U(1)
    state[1] = high
    return int(at), int(n)
