"""Strokes become dots of ink in the order of drawing: what a store keeps of them, the same shape for every drawing."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ..sources.strokes import Strokes

NUM_DOTS: Final = 128
"""Of a drawing. Omniglot's images have a pen of 5 px; dots are 1.4 px apart in half of the drawings, 4.4 at most."""
_FIRST: Final = 2.0**-20  # the time of the first dot: just after the beginning, when the paper is blank


def encode_strokes(strokes: Strokes, location: str) -> NDArray[np.float32]:
    """Dots (NUM_DOTS, 4) along strokes: x, y in shares of the image's side, and from when to when the pen is there.

    Dots of a stroke are equally far apart, both ends among them, and about as far in all strokes. Times are shares of
    the drawing's duration, pauses between strokes included, in (0, 1], and do not fall: where the clock steps back,
    time stands still. The pen is at a dot until it comes to the next one, or is lifted. Dots that are not needed are
    drawn never: their times are inf.
    Raises SourceError: strokes without duration, or too many for the dots.
    """
    points = np.concatenate(strokes)
    t_ms = np.maximum.accumulate(points[:, 2])
    duration_ms = t_ms[-1] - t_ms[0]
    if duration_ms <= 0:
        raise SourceError(f"{location}: all points have the same time, so when what is drawn cannot be told")
    if 2 * len(strokes) >= NUM_DOTS:
        raise SourceError(f"{location}: {len(strokes)} strokes; the limit is {NUM_DOTS // 2 - 1}")
    times = np.split((t_ms - t_ms[0]) / duration_ms, np.cumsum([len(stroke) for stroke in strokes])[:-1])
    along = [np.r_[0, np.cumsum(np.hypot(*np.diff(stroke[:, :2], axis=0).T))] for stroke in strokes]
    # ceil(length / apart) + 1 dots of each stroke are at most NUM_DOTS together.
    apart = sum(length[-1] for length in along) / (NUM_DOTS - 2 * len(strokes))
    dots = []
    for stroke, time, length in zip(strokes, times, along, strict=True):
        at = np.linspace(0, length[-1], int(np.ceil(length[-1] / apart)) + 1 if length[-1] > 0 else 1)
        arrives = np.r_[True, np.diff(length) > 0]  # and where the pen rests after that it is no further
        x, y, begin = (np.interp(at, length[arrives], of[arrives]) for of in (*stroke[:, :2].T, time))
        dots.append(np.stack([x, y, begin, np.r_[begin[1:], time[-1]]], 1))
    encoded = np.full((NUM_DOTS, 4), np.inf, np.float32)
    encoded[:, :2] = 0
    found = np.concatenate(dots)
    encoded[: len(found)] = found
    encoded[:, 2:] = np.maximum(encoded[:, 2:], _FIRST)
    return encoded
