"""Columns as a file holds them (x, y, t, p of any type of number), piece by piece, as events with times in us.

Nothing is judged here but how times are told: what a recording may hold, `frames.checked` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ..base import LARGEST_SENSOR, MAX_SENSOR_SIDE, Events, EventStream, GuessedUnit, TimeUnit
from .child_hdf5 import UnsupportedError, match

HELD_EVENTS: Final = 1 << 22  # a recording of more is read in pieces; 13 to 32 bytes each
PLACES: Final = ("0", "1", "2", "3")
"""What columns are called, in their order, where they have no names."""
_US_PER_UNIT: Final = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
_ORDERS: Final = tuple(
    "".join(order) for order in permutations("xytp") if order.index("x") < order.index("y")
)  # that values may tell apart

Columns = Mapping[str, NDArray[Any]]
Unit = TimeUnit | Literal["whole us"]
Pieces = tuple[tuple[int, int] | None, Iterator[Events]]
"""The sensor size that a file states, if it does, and its events piece by piece."""


def as_events(
    pieces: Iterable[Columns],
    time_unit: Unit = "auto",
    sensor_size: tuple[int, int] | None = None,
    *,
    order: str = "auto",
    usual: str = "",
    location: str = "",
) -> Iterator[Events]:
    """The events of each piece, whose columns are "x", "y", "t" and "p", or without names, `PLACES`.

    time_unit: of t; "auto" is us for whole numbers, of whatever type, and s for others. Times between two microseconds
    are rounded to the nearest, unless the unit is "whole us": then they stay, and are refused as such.
    order: which of the columns without names is which ("xytp"); "auto": by their values, see `tell_apart`, also for
    `usual`.
    """
    assumed = ""
    guessed: GuessedUnit | None = None
    for columns in pieces:
        if "t" not in columns:
            if order == "auto":
                order, is_sure = tell_apart([columns[place] for place in PLACES], usual, location)
                if order != usual or not is_sure:
                    why = "by their values are" if is_sure else "may be others by their values, and are taken for"
                    assumed = f"names no columns, which {why} {', '.join(order)}"
            columns = dict(zip(order, (columns[place] for place in PLACES), strict=True))
        t = columns["t"]
        if time_unit == "auto" and guessed is None and len(t):  # the beginning tells, as of the columns
            guessed = "s" if _has_fractions(t) else "us"
        elif guessed == "us" and _has_fractions(t):
            raise SourceError(
                f"{location}: its times are whole numbers at first, as those in us are, and then fractions; say their "
                'unit: frames.time_unit = "s" (--time-unit s), or as it is'
            )
        t = _microseconds(t, guessed or time_unit)
        x, y, p = (columns[name] for name in "xyp")
        yield Events(x, y, t, p.view(np.uint8) if p.dtype == bool else p, sensor_size, guessed, assumed)


def match_columns(names: Iterable[str], location: str) -> dict[str, str] | None:
    """See `child_hdf5.match`. Raises SourceError where two names may mean one column."""
    try:
        return match(names)
    except UnsupportedError as problem:
        raise SourceError(f"{location}: {problem}") from None


def _has_fractions(t: NDArray[Any]) -> bool:
    return t.dtype.kind == "f" and bool((t != np.floor(t)).any())


def assumed_order(assumed: str) -> str | None:
    """The order of columns that `as_events` assumed of a recording, by what it says of it."""
    found = re.match(r"names no columns, .* ([xytp]), ([xytp]), ([xytp]), ([xytp])$", assumed)
    return found and "".join(found.groups())


def tell_apart(values: Sequence[NDArray[Any]], usual: str, location: str) -> tuple[str, bool]:
    """The order of four columns without names, by the values of a recording's beginning: "xytp"; whether it is sure.

    A polarity is 0 and 1, or -1 and 1; coordinates are whole numbers on the largest event camera, x before y. What the
    beginning rules out, the whole recording does. usual: an order that is taken where nothing speaks against it, and
    not sure where another one would do. Raises SourceError where not just one is left: times that are whole numbers
    below 1280 may be coordinates, also where they are in order, as those of a table that is sorted by them are.
    """
    if any(column.dtype.kind not in "iufb" for column in values):
        raise SourceError(f"{location}: columns of {values[0].dtype}, expected numbers")
    low, high = ([float(bound(column)) for column in values] for bound in (np.min, np.max))
    is_polarity = [bool(((v == 1) | (v == 0)).all() or ((v == 1) | (v == -1)).all()) for v in values]
    is_whole = [low[i] >= 0 and bool((v == np.floor(v)).all()) for i, v in enumerate(values)]

    def fits(order: str, side: int) -> bool:
        coordinates = [order.index(name) for name in "xy"]
        return is_polarity[order.index("p")] and all(is_whole[i] and high[i] < side for i in coordinates)

    left = [order for order in _ORDERS if fits(order, max(LARGEST_SENSOR))]
    if usual and fits(usual, MAX_SENSOR_SIDE):
        times = values[usual.index("t")]
        if (times[1:] >= times[:-1]).all():
            return usual, not {*left} - {usual}
    if len(left) != 1:
        ranges = ", ".join(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True))
        which = f"; they may be {' or '.join(map(', '.join, left[:3]))}" if left else ""
        raise SourceError(
            f"{location}: its columns have no names, and their values ({ranges}) do not tell which are x, y, t and "
            f'p{which}: say their order, frames.columns = "xytp" (--columns xytp), or as it is'
        )
    return left[0], True


def _microseconds(values: NDArray[Any], unit: Unit) -> NDArray[Any]:
    is_float = values.dtype.kind == "f"
    if unit == "whole us" or not (is_float or values.dtype.kind in "iu") or (unit == "us" and not is_float):
        is_wide = values.dtype == np.uint64 and values.max(initial=0) < 1 << 63  # as the kernels take them
        return values.view(np.int64) if is_wide else values
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
    if len(held) == 1:
        return held[0]
    x, y, t, p = (np.concatenate([getattr(piece, name) for piece in held]) for name in "xytp")
    return Events(x, y, t, p, held[0].sensor_size, held[0].guessed_unit, held[0].assumed)
