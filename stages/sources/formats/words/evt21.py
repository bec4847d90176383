"""EVT 2.1 (docs.prophesee.ai, "EVT 2.1 Format"): words of 64 bits, their type in the upper four.

EVT_NEG (0) and EVT_POS (1): the 6 lower bits of the time in us, x (11 bits), y (11), and 32 bits: bit n stands for an
event at x + n. EVT_TIME_HIGH (8): the 28 upper bits of the time, then 32 bits of zero. All else as in `evt2`. CONTINUED
(15) is not in the page's table; it is passed over as in EVT 2.0.

GenX320 writes a word little-endian; older cameras (IMX636, Gen4.1) write its upper half first, each half little-endian,
which headers call `endianness=legacy`. Where the header does not say, the words do: the types of one order alone are
types that there are.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import re
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess
from .evt2 import RESERVED
from .stream import NEVER, PROBLEM, ROOM, lowest_bit, unwrapped

WORD_BYTES: Final = 8
UNIT: Final = np.uint32
STATE: Final = (0, NEVER)  # that a file begins with, and whether upper halves come first
PROBLEMS: Final = (RESERVED,)
_ENDIANNESS: Final = re.compile(r"(?:^%\s*|;\s*)endianness[ =]+(\w+)", re.MULTILINE)
_LOOKED_AT_BYTES: Final = 1 << 14
_U = np.uintp


def has_upper_first(content: RandomAccess, start: int, header: str) -> bool:
    """Whether the upper half of a word comes first. Raises SourceError: big-endian."""
    told = _ENDIANNESS.search(header)
    if told and told[1] not in ("legacy", "little"):
        raise SourceError(
            f"{content.location}: EVT 2.1 of endianness {told[1]}; little and legacy are read: convert it "
            "(Metavision SDK)"
        )
    return told[1] == "legacy" if told else _looks_legacy(content.read_at(start, _LOOKED_AT_BYTES))


def _looks_legacy(data: bytes) -> bool:
    """Whether upper halves come first: which order has fewer words that cannot be."""
    halves = np.frombuffer(data, "<u4", len(data) // WORD_BYTES * 2).reshape(-1, 2)
    wrong = []
    for upper, lower in (halves[:, 1], halves[:, 0]), (halves[:, 0], halves[:, 1]):
        kind = upper >> 28
        is_wrong = ~np.isin(kind, (0, 1, 8, 10, 14, 15)) | ((kind == 8) & (lower != 0)) | ((kind < 2) & (lower == 0))
        wrong.append(int(np.count_nonzero(is_wrong)))
    return bool(wrong[1] < wrong[0])


@njit(nogil=True, cache=True)
def decode(
    halves: NDArray[np.uint32],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, upper bits of the time (`NEVER`: none yet), whether upper halves come first."""
    high = state[1]
    upper_at, lower_at = (_U(0), _U(1)) if state[2] else (_U(1), _U(0))
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    while at + _U(1) < _U(halves.size) and n <= last:
        word = halves[at + upper_at]
        kind = word >> np.uint32(28)
        if kind <= 1:
            valid = halves[at + lower_at] if high > NEVER else np.uint32(0)
            column = (word >> np.uint32(11)) & np.uint32(0x7FF)
            row = word & np.uint32(0x7FF)
            time = (high << 6) | np.int64((word >> np.uint32(22)) & np.uint32(0x3F))
            while valid:
                x[n] = column + lowest_bit(valid)
                y[n] = row
                t[n] = time
                p[n] = kind
                n += _U(1)
                valid &= valid - np.uint32(1)
        elif kind == 8:
            bits = np.int64(word & np.uint32(0x0FFF_FFFF))
            high = unwrapped(high, bits, 28, 27) if high > NEVER else bits
        elif kind != 10 and kind < 14:
            state[PROBLEM] = 1
            break
        at += _U(2)
    state[1] = high
    return int(at), int(n)
