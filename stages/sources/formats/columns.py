"""Columns as a file holds them (x, y, t, p of any type of number) to events: times in us, polarity 0 or 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ...frames.spec import TimeUnit
from ..base import Events, GuessedUnit

Columns = Mapping[str, NDArray[Any]]
Unit = TimeUnit | Literal["whole us"]

_US_PER_UNIT: Final = {"ns": 1e-3, "us": 1, "whole us": 1, "ms": 1_000, "s": 1_000_000}
_LARGEST_TIME: Final = 2.0**53  # us, in either direction: 285 years, and exact as a double
_COORDINATE_LIMIT: Final = 1 << 16


def as_events(
    pieces: Iterable[Columns], location: str, time_unit: Unit = "auto", sensor_size: tuple[int, int] | None = None
) -> Iterator[Events]:
    """The events of each piece, whose columns "x", "y", "t" and "p" have the shape (n,).

    time_unit: of t; "auto" is us for whole numbers and s for floating point. Times between two microseconds are rounded
    to the nearest, unless the unit is "whole us": then they are refused. p is 0 or 1, -1 or 1, or boolean, the same in
    all pieces.
    Raises SourceError, naming column and event: types that are no numbers, lengths that differ, fractions or numbers
    out of range in x, y and p, times that are not finite or run backwards.
    """
    if sensor_size is not None and not all(1 <= side <= _COORDINATE_LIMIT for side in sensor_size):
        raise SourceError(f"{location}: announces a sensor of {sensor_size[0]} x {sensor_size[1]} pixels; refused")
    num_before, last_us = 0, None
    lowest_polarity = 1
    for columns in pieces:
        lengths = {name: values.shape for name, values in columns.items()}
        num_events = len(columns["t"])
        if set(lengths.values()) != {(num_events,)}:
            raise SourceError(f"{location}: expected x, y, t and p of the same length, found the shapes {lengths}")
        if not num_events:
            continue
        refuse = _Refusal(location, num_before)
        x, y = (_whole(name, columns[name], 0, _COORDINATE_LIMIT - 1, refuse).astype(np.uint16) for name in "xy")
        guessed = _guess_unit(columns["t"]) if time_unit == "auto" else None
        t = _microseconds(columns["t"], guessed or time_unit, refuse, is_guess=guessed is not None)
        p = _whole("p", columns["p"], -1, 1, refuse)
        lowest = min(lowest_polarity, int(p.min()))
        if lowest == -1:
            refuse("p", p, p == 0, "expected either 0 and 1 or -1 and 1, found all three")
            if lowest_polarity == 0:
                raise SourceError(f"{location}: p is 0 in some events and -1 in others; expected one of the two")
        lowest_polarity = lowest
        refuse("t", t[1:], t[1:] < t[:-1], "us, earlier than the event before it; sort by time", first=1)
        if last_us is not None and t[0] < last_us:
            refuse("t", t, t < last_us, f"us, earlier than the event before it ({last_us} us); sort by time")
        last_us = int(t[-1])
        num_before += num_events
        yield Events(x, y, t, (p == 1).astype(np.uint8), sensor_size, guessed)


class _Refusal:
    """Raises SourceError for the first event of a piece that is wrong."""

    def __init__(self, location: str, num_before: int) -> None:
        self.location, self._num_before = location, num_before

    def __call__(
        self, name: str, values: NDArray[Any], wrong: NDArray[np.bool_], expected: str, first: int = 0
    ) -> None:
        if wrong.any():
            i = int(np.argmax(wrong))
            raise SourceError(
                f"{self.location}: {name} = {values[i]} of event {self._num_before + first + i}: {expected}"
            )


def _whole(name: str, values: NDArray[Any], low: int, high: int, refuse: _Refusal) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return values.astype(np.int8)
    if values.dtype.kind not in "iuf":
        raise SourceError(f"{refuse.location}: {name} is of type {values.dtype}, expected numbers")
    expected = f"expected a whole number from {low} to {high}"
    if values.dtype.kind == "f":
        refuse(name, values, ~np.isfinite(values) | (np.floor(values) != values), expected)
    if values.min() < low or values.max() > high:
        refuse(name, values, (values < low) | (values > high), expected)
    return values if values.dtype.kind != "u" or low >= 0 else values.astype(np.int64)


def _guess_unit(values: NDArray[Any]) -> GuessedUnit:
    return "s" if values.dtype.kind == "f" else "us"


def _microseconds(values: NDArray[Any], unit: Unit, refuse: _Refusal, *, is_guess: bool) -> NDArray[np.int64]:
    if values.dtype.kind not in "iuf":
        raise SourceError(f"{refuse.location}: t is of type {values.dtype}, expected numbers")
    factor = _US_PER_UNIT[unit]
    limit = _LARGEST_TIME / factor
    expected = f"expected a time of less than {limit:.4g} {unit}"
    if is_guess:
        expected += f"; the unit is a guess: if it is not {unit}, set frames.time_unit (--time-unit), for example to ns"
    if values.dtype.kind == "f":
        refuse("t", values, ~np.isfinite(values) | (np.abs(values) >= limit), expected)
        if unit == "whole us":
            refuse("t", values, np.floor(values) != values, "expected a whole number of us")
        return np.rint(values.astype(np.float64) * factor).astype(np.int64)
    if values.max() >= limit or values.min() <= -limit:  # in floating point, so only where it is needed for each value
        refuse("t", values, (values >= limit) | (values <= -limit), expected)
    whole = values.astype(np.int64, copy=False)
    return (whole + 500) // 1000 if unit == "ns" else whole if factor == 1 else whole * int(factor)
