"""EVT 2.0 (docs.prophesee.ai, "EVT 2.0 Format"): little-endian words of 32 bits, their type in the upper four.

CD_OFF (0) and CD_ON (1): the 6 lower bits of the time in us, x (11 bits), y (11). EVT_TIME_HIGH (8): the 28 upper bits
of the time, of 34: after 4 h 46 min they begin at 0 again, and the times here go on. As the specification says,
decoding starts with the first EVT_TIME_HIGH; EXT_TRIGGER (10), OTHERS (14) and CONTINUED (15) are no events of pixels,
nor are those of an inertial sensor (13, in OpenEB's list of types). Other types are reserved: a file with them is
refused.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .stream import NEVER, PROBLEM, ROOM, unwrapped

WORD_BYTES: Final = 4
RESERVED: Final = "a word of a reserved type; the file is damaged, or of another version: fetch it again"
UNIT: Final = np.uint32
STATE: Final = (0, NEVER)  # that a file begins with
PROBLEMS: Final = (RESERVED,)
_STEP: Final = 16  # words that are looked at together
_LONGEST: Final = 256  # run of events that is decoded at once: it stays in the first cache
_SHORTEST: Final = 8  # for which that is worth it
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
    """See `stream`. state: problem, upper bits of the time (`NEVER`: none yet).

    Runs of nothing but events are decoded in vector instructions, word by word where they are short.
    """
    high = state[1]
    base = high << 6
    started = _U(high > NEVER)
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    next_run = _U(0)
    while at < _U(words.size) and n <= last:
        if started and at >= next_run:
            stop = min(_U(words.size), at + (last - n) + _U(1), at + _U(_LONGEST))
            end = at
            while end + _U(_STEP) <= stop:
                kinds = np.uint32(0)
                part = words[end : end + _U(_STEP)]
                for i in range(_STEP):
                    kinds |= part[i]
                if kinds >> np.uint32(29):
                    break
                end += _U(_STEP)
            while end < stop and not words[end] >> np.uint32(29):
                end += _U(1)
            length = end - at
            if length >= _SHORTEST:
                part = words[at:end]
                x_part, y_part, t_part, p_part = x[n:], y[n:], t[n:], p[n:]
                for i in range(part.size):
                    x_part[i] = (part[i] >> np.uint32(11)) & np.uint32(0x7FF)
                for i in range(part.size):
                    y_part[i] = part[i] & np.uint32(0x7FF)
                for i in range(part.size):
                    t_part[i] = base | np.int64((part[i] >> np.uint32(22)) & np.uint32(0x3F))
                for i in range(part.size):
                    p_part[i] = part[i] >> np.uint32(28)
                n += length
                at = end
                continue
            next_run = at + _U(_STEP)
        word = words[at]
        kind = word >> np.uint32(28)
        if kind <= 1:
            x[n] = (word >> np.uint32(11)) & np.uint32(0x7FF)
            y[n] = word & np.uint32(0x7FF)
            t[n] = base | np.int64((word >> np.uint32(22)) & np.uint32(0x3F))
            p[n] = kind
            n += started
        elif kind == 8:
            bits = np.int64(word & np.uint32(0x0FFF_FFFF))
            high = unwrapped(high, bits, 28, 27) if started else bits
            base = high << 6
            started = _U(1)
        elif kind != 10 and kind < 13:
            state[PROBLEM] = 1
            break
        at += _U(1)
    state[1] = high
    return int(at), int(n)
