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

from ...random_access import RandomAccess
from .stream import NEVER, PROBLEM, ROOM, Words, unwrapped

WORD_BYTES: Final = 4
RESERVED: Final = "a word of a reserved type; the file is damaged, or of another version: fetch it again"
_BLOCK: Final = 64
_U = np.uintp


def no_time(state: NDArray[np.int64]) -> str:
    """Of a file in which no word told the time."""
    return "" if state[1] > NEVER else "no EVT_TIME_HIGH word in it, so that no event has a time; fetch it again"


def words_of(
    content: RandomAccess, start: int, header: str, sensor_size: tuple[int, int] | None, first_us: int
) -> Words:
    return Words(
        decode,
        start,
        np.uint32,
        (0, NEVER),
        WORD_BYTES,
        (RESERVED,),
        sensor_size,
        WORD_BYTES,
        no_time,
        first_us,
    )


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

    Blocks of nothing but events are decoded in vector instructions.
    """
    high = state[1]
    base = high << 6
    started = _U(high > NEVER)
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    next_block = _U(0)
    while at < _U(words.size) and n <= last:
        if started and at >= next_block and at + _U(_BLOCK) <= _U(words.size):
            next_block = at + _U(_BLOCK)
            block = words[at : at + _U(_BLOCK)]
            kinds = np.uint32(0)
            for i in range(_BLOCK):
                kinds |= block[i]
            if kinds >> np.uint32(28) <= 1:
                x_part, y_part = x[n : n + _U(_BLOCK)], y[n : n + _U(_BLOCK)]
                t_part, p_part = t[n : n + _U(_BLOCK)], p[n : n + _U(_BLOCK)]
                for i in range(_BLOCK):
                    x_part[i] = (block[i] >> np.uint32(11)) & np.uint32(0x7FF)
                for i in range(_BLOCK):
                    y_part[i] = block[i] & np.uint32(0x7FF)
                for i in range(_BLOCK):
                    t_part[i] = base | np.int64((block[i] >> np.uint32(22)) & np.uint32(0x3F))
                for i in range(_BLOCK):
                    p_part[i] = block[i] >> np.uint32(28)
                n += _U(_BLOCK)
                at += _U(_BLOCK)
                continue
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
            high = unwrapped(high, bits, 28) if started else bits
            base = high << 6
            started = _U(1)
        elif kind != 10 and kind < 13:
            state[PROBLEM] = 1
            break
        at += _U(1)
    state[1] = high
    return int(at), int(n)
