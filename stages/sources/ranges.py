"""What the columns of events hold, in one look at each value: while a decoder has them in the cache, or later."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .base import Ranges

_NOTHING: Final = (0xFFFF, 0, 0xFFFF, 0, 0xFF, 0, 0, -(1 << 63))


class Look:
    """At events one part after the other, in their order."""

    def __init__(self) -> None:
        self._seen = np.array(_NOTHING)

    def at(self, x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8]) -> None:
        """The columns of the next events, (n,) each."""
        widen(x, y, t, p, self._seen)

    def ranges(self) -> Ranges:
        x_low, x_high, y_low, y_high, p_low, p_high, backwards, _ = self._seen.tolist()
        return Ranges(x_low, x_high, y_low, y_high, p_low, p_high, is_ordered=not backwards)


@njit(nogil=True, cache=True)
def widen(
    x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8], seen: NDArray[np.int64]
) -> None:
    """Add events to those seen.

    x, y, t, p: (n,).  seen: (8,): lowest and highest x, y and p, whether a time is before the one before it, last time.
    """
    if not t.size:
        return
    x_low, x_high, y_low, y_high, p_low, p_high = x[0], x[0], y[0], y[0], p[0], p[0]
    for i in range(x.size):
        x_low, x_high = min(x_low, x[i]), max(x_high, x[i])
    for i in range(y.size):
        y_low, y_high = min(y_low, y[i]), max(y_high, y[i])
    for i in range(p.size):
        p_low, p_high = min(p_low, p[i]), max(p_high, p[i])
    backwards = np.uint8(t[0] < seen[7])
    for i in range(t.size - 1):
        backwards |= np.uint8(t[i + 1] < t[i])
    seen[0], seen[1] = min(seen[0], np.int64(x_low)), max(seen[1], np.int64(x_high))
    seen[2], seen[3] = min(seen[2], np.int64(y_low)), max(seen[3], np.int64(y_high))
    seen[4], seen[5] = min(seen[4], np.int64(p_low)), max(seen[5], np.int64(p_high))
    seen[6] |= np.int64(backwards)
    seen[7] = t[-1]
