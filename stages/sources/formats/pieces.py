"""Recordings piece by piece, and those held that are short."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from ....cache.errors import SourceError
from ..base import Events, EventStream

HELD_EVENTS: Final = 1 << 22  # a recording of more is read in pieces; 13 bytes each

Pieces = tuple[tuple[int, int] | None, Iterator[Events]]
"""The sensor size that a file states, if it does, and its events piece by piece."""


def hold_short(open_pieces: Callable[[], Pieces], location: str) -> Events | EventStream:
    """The events, unless there are more than `HELD_EVENTS`; then a stream that opens the file for each pass.

    Raises SourceError.
    """
    sensor_size, pieces = open_pieces()
    held: list[Events] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) > HELD_EVENTS:
            return EventStream(lambda: open_pieces()[1], sensor_size, piece.guessed_unit)
    return replace(join(held, location), sensor_size=sensor_size)


def join(pieces: Iterable[Events], location: str) -> Events:
    """The events of all pieces in one. Raises SourceError when there are none."""
    held = list(pieces)
    if not held:
        raise SourceError(f"{location}: no event in it; leave the recording out or fetch it again")
    x, y, t, p = (np.concatenate([getattr(piece, name) for piece in held]) for name in "xytp")
    return Events(x, y, t, p, held[0].sensor_size, held[0].guessed_unit)
