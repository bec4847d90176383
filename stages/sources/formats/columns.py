"""Columns as a file holds them (x, y, t, p of any type of number), piece by piece, as events with times in us.

Nothing is judged here but how times are told: what a recording may hold, `frames.checked` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..base import Events, EventStream, GuessedUnit, TimeUnit

HELD_EVENTS: Final = 1 << 22  # a recording of more is read in pieces; 13 to 32 bytes each
_US_PER_UNIT: Final = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}

Columns = Mapping[str, NDArray[Any]]
Unit = TimeUnit | Literal["whole us"]
Pieces = tuple[tuple[int, int] | None, Iterator[Events]]
"""The sensor size that a file states, if it does, and its events piece by piece."""


def as_events(
    pieces: Iterable[Columns], time_unit: Unit = "auto", sensor_size: tuple[int, int] | None = None
) -> Iterator[Events]:
    """The events of each piece, whose columns are "x", "y", "t" and "p".

    time_unit: of t; "auto" is us for whole numbers and s for floating point. Times between two microseconds are rounded
    to the nearest, unless the unit is "whole us": then they stay, and are refused as such.
    """
    for columns in pieces:
        t = columns["t"]
        guessed: GuessedUnit | None = None
        if time_unit == "auto":
            guessed = "s" if t.dtype.kind == "f" else "us"
        yield Events(
            columns["x"], columns["y"], _microseconds(t, guessed or time_unit), columns["p"], sensor_size, guessed
        )


def _microseconds(values: NDArray[Any], unit: Unit) -> NDArray[Any]:
    is_float = values.dtype.kind == "f"
    if unit == "whole us" or not (is_float or values.dtype.kind in "iu") or (unit == "us" and not is_float):
        return values
    if unit == "ns" and not is_float:
        wide = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64)  # a byte knows no 1000
        return wide // 1000 + (wide % 1000 >= 500)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.rint(values.astype(np.float64) * _US_PER_UNIT[unit])


def hold_short(open_pieces: Callable[[], Pieces]) -> Events | EventStream:
    """The events, unless there are more than `HELD_EVENTS`; then a stream that opens the file for each pass.

    Raises SourceError.
    """
    sensor_size, pieces = open_pieces()
    held: list[Events] = []
    num_held = 0
    for piece in pieces:
        held.append(piece)
        num_held += len(piece)
        if num_held > HELD_EVENTS:
            return EventStream(lambda: open_pieces()[1], sensor_size, piece.guessed_unit, piece.assumed)
    return replace(join(held), sensor_size=sensor_size)


def join(pieces: Iterable[Events]) -> Events:
    """The events of all pieces in one."""
    held = [piece for piece in pieces if len(piece)]
    if not held:
        return Events(*np.empty((4, 0), np.int64))
    x, y, t, p = (np.concatenate([getattr(piece, name) for piece in held]) for name in "xytp")
    return Events(x, y, t, p, held[0].sensor_size, held[0].guessed_unit, held[0].assumed)
