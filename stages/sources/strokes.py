"""Omniglot's strokes: where the pen was while a character was drawn, as text.

Format, from the authors' README and `python/demo.py` (github.com/brendenlake/omniglot, strokes_background.zip and
strokes_evaluation.zip): a line `START`; of each point a line `x,y,t`, pixels of the 105 x 105 image (the centre of its
upper left pixel is 0,0; y is negative) and milliseconds; a line `BREAK` after each stroke. Found in the 5,840 files of
strokes_background_small1.zip and _small2.zip: t begins at 0, a stroke of one point is a dot (5 % of them), points leave
the image by up to 14 px, and in 16 drawings the clock steps back, by at most 23 ms.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError

Strokes = tuple[NDArray[np.float64], ...]
"""For each stroke, in the order of drawing, its points (n, 3): x to the right and y down, in shares of the image's side
from its upper left corner, and the time in milliseconds."""

SIDE_PX: Final = 105
MAX_STROKES_BYTES: Final = 1 << 20  # the largest of those 5,840 has 14,011 bytes
_STEP_BACK_MS: Final = 100.0
_NUMBER: Final = r"-?\d{1,12}(?:\.\d{1,12})?(?:e[+-]?\d{1,2})?"
_POINT: Final = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER})")


def parse_strokes(data: bytes, location: str) -> Strokes:
    """The strokes of a drawing. Times that step back a little are kept. Raises SourceError, naming the line."""
    if len(data) > MAX_STROKES_BYTES:
        raise SourceError(f"{location}: {len(data)} bytes; the limit for strokes is {MAX_STROKES_BYTES}")
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{location}: is no text of strokes ({error}); fetch it again") from error
    if not lines or lines[0] != "START":
        raise _wrong(location, 1, lines[0] if lines else "", "START")
    strokes: list[list[tuple[float, float, float]]] = [[]]
    latest = 0.0
    for number, line in enumerate(lines[1:], start=2):
        if line == "BREAK" and strokes[-1]:
            strokes.append([])
            continue
        point = _POINT.fullmatch(line)
        if point is None:
            raise _wrong(location, number, line, "x,y,t in pixels and ms, or BREAK after the points of a stroke")
        x, y, t_ms = map(float, point.groups())
        if not (abs(x - SIDE_PX / 2) <= SIDE_PX and abs(-y - SIDE_PX / 2) <= SIDE_PX):
            raise _wrong(
                location, number, line, f"a point near the image, which has x 0 to {SIDE_PX}, y -{SIDE_PX} to 0"
            )
        if t_ms < latest - _STEP_BACK_MS:
            raise _wrong(location, number, line, f"times that do not fall, and found {latest:g} ms before")
        latest = max(latest, t_ms)
        strokes[-1].append(((x + 0.5) / SIDE_PX, (0.5 - y) / SIDE_PX, t_ms))
    if strokes.pop():
        raise SourceError(f"{location}: line {len(lines)}: ends within a stroke, expected BREAK; fetch it again")
    if not strokes:
        raise SourceError(f"{location}: no stroke in it; fetch it again")
    return tuple(np.array(stroke) for stroke in strokes)


def _wrong(location: str, number: int, line: str, expected: str) -> SourceError:
    return SourceError(f"{location}: line {number}: {line[:80]!r}, expected {expected}; fetch it again")
