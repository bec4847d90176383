"""Recordings after every check: what counting needs to know of a recording, whichever form it came in.

Nothing gets past here that the kernels could not count: coordinates outside the sensor, time running backwards,
half a record and recordings without events are refused, naming the event and, for raw records, the byte offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ..sources.base import Events
from .kernels import (
    OVERFLOW_US,
    OVERFLOW_Y,
    RECORD_BYTES,
    Tables,
    Taps,
    byte_ranges,
    count_events,
    count_records,
    first_unordered_record,
    record_time,
    resize_events,
    resize_records,
    split_records,
)

Indices = NDArray[np.int64]
Counts = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Box:
    """The pixels a recording's frames cover: columns x .. x + width - 1 and rows y .. y + height - 1 of the sensor."""

    x: int
    y: int
    width: int
    height: int


class CheckedRecording(Protocol):
    """A recording whose records are known to be countable. Its indices count records: events and overflow markers."""

    num_events: int
    num_records: int
    first_us: int
    last_us: int
    extent: Box
    """The smallest box that holds every event."""
    sensor_size: tuple[int, int]

    def split_at_times(self, edges_us: Sequence[int]) -> Indices:
        """Index of the first event at or after each edge; edges ascending and not after the last event."""
        ...

    def split_at_events(self, ordinals: Indices) -> Indices:
        """Index of the ordinal-th event (0 is the first) for each, `num_records` past the last."""
        ...

    def num_events_between(self, start: int, stop: int) -> int:
        """How many of the records start .. stop - 1 are events."""
        ...

    def count(self, splits: Indices, tables: Tables, out: Counts) -> None:
        """Add the events between neighbouring splits to the frames of `out` (T, 2, H, W)."""
        ...

    def resize(
        self, splits: Indices, tables: Tables, taps: tuple[Taps, Taps], counts: Counts, out: NDArray[np.float32]
    ) -> int:
        """Fill `out` (T, 2, S, S) with the counts, resized by the taps of rows and columns.

        Returns how many of the records between the first and the last split no pixel of `out` reads.
        counts: (1, 2, H, W), memory to work in.
        """
        ...


class CheckedRecords:
    """Raw 5-byte records that passed every check."""

    def __init__(self, data: NDArray[np.uint8], sensor_size: tuple[int, int], location: str) -> None:
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f"records are a (5 * n,) uint8 array, not {data.shape} {data.dtype}")
        rest = data.size % RECORD_BYTES
        if rest:
            raise SourceError(
                f"{location}: {data.size} bytes is not a whole number of {RECORD_BYTES}-byte events ({rest} left over "
                f"at byte offset {data.size - rest}); the file is truncated: fetch it again"
            )
        self._data = np.ascontiguousarray(data)
        self.sensor_size = sensor_size
        self.num_records = data.size // RECORD_BYTES
        low, high = np.full(RECORD_BYTES, 255, np.uint8), np.zeros(RECORD_BYTES, np.uint8)
        byte_ranges(self._data, low, high)
        ranges = (int(low[0]), int(high[0]), int(low[1]), int(high[1]))
        self._markers = np.array([self.num_records])
        if high[1] >= OVERFLOW_Y:  # few recordings have overflow markers; their x and y are not an event's
            is_marker = self._data[1::RECORD_BYTES] == OVERFLOW_Y
            self._markers = np.append(np.flatnonzero(is_marker), self.num_records)
            if self._markers.size <= self.num_records:
                x, y = (self._data[i::RECORD_BYTES][~is_marker] for i in (0, 1))
                ranges = (int(x.min()), int(x.max()), int(y.min()), int(y.max()))
        self.num_events = self.num_records - (self._markers.size - 1)
        if self.num_events == 0:
            raise SourceError(f"{location}: {self.num_records} records and no event among them; fetch the file again")
        x_low, x_high, y_low, y_high = ranges
        if x_high >= sensor_size[0] or y_high >= min(sensor_size[1], OVERFLOW_Y):
            self._refuse_coordinates(location)
        self.extent = Box(x_low, y_low, x_high - x_low + 1, y_high - y_low + 1)
        unordered = first_unordered_record(self._data, self._markers)
        if unordered >= 0:
            raise SourceError(
                f"{location}: time runs backwards at record {unordered} (byte offset {unordered * RECORD_BYTES}): "
                f"{self._time(unordered)} us is before the event before it; the file is damaged: fetch it again"
            )
        ends = self.split_at_events(np.array([0, self.num_events - 1]))
        self.first_us, self.last_us = (self._time(int(i)) for i in ends)

    def _time(self, i: int) -> int:
        return int(record_time(self._data, i)) + OVERFLOW_US * int(np.searchsorted(self._markers, i))

    def _refuse_coordinates(self, location: str) -> None:
        x, y = self._data[0::RECORD_BYTES], self._data[1::RECORD_BYTES]
        width, height = self.sensor_size[0], min(self.sensor_size[1], OVERFLOW_Y)
        i = int(np.flatnonzero(((x >= width) | (y >= height)) & (y != OVERFLOW_Y))[0])
        raise SourceError(
            f"{location}: record {i} (byte offset {i * RECORD_BYTES}) lies at x={x[i]}, y={y[i]}, outside the "
            f"sensor's {width} x {height} pixels; the file is damaged or another sensor's"
        )

    def split_at_times(self, edges_us: Sequence[int]) -> Indices:
        out = np.empty(len(edges_us), np.int64)
        split_records(self._data, self._markers, np.array(edges_us, np.int64), out)
        return out

    def split_at_events(self, ordinals: Indices) -> Indices:
        events_before_marker = self._markers[:-1] - np.arange(self._markers.size - 1)
        return ordinals + np.searchsorted(events_before_marker, ordinals, side="right")

    def num_events_between(self, start: int, stop: int) -> int:
        return stop - start - int(np.diff(np.searchsorted(self._markers, [start, stop]))[0])

    def count(self, splits: Indices, tables: Tables, out: Counts) -> None:
        count_records(self._data, splits, self._without_markers(tables, out), out)

    def resize(
        self, splits: Indices, tables: Tables, taps: tuple[Taps, Taps], counts: Counts, out: NDArray[np.float32]
    ) -> int:
        return int(resize_records(self._data, splits, self._without_markers(tables, counts), taps, counts, out))

    def _without_markers(self, tables: Tables, counts: Counts) -> Tables:
        """The tables with the overflow markers' row sent to the spare one."""
        if self._markers.size == 1:
            return tables
        rows = tables.rows.copy()
        rows[2 * OVERFLOW_Y : 2 * OVERFLOW_Y + 2] = (counts.shape[2] - 1) * counts.shape[3]
        return tables._replace(rows=rows)


class CheckedEvents:
    """Decoded events that passed every check."""

    def __init__(self, events: Events, sensor_size: tuple[int, int], location: str, first_event: int = 0) -> None:
        """first_event: index of the first one in the recording, where `events` are a piece of it; for messages."""
        self.sensor_size = sensor_size
        self.num_events = self.num_records = len(events.t)
        columns: dict[str, NDArray[Any]] = {"x": events.x, "y": events.y, "t": events.t, "p": events.p}
        for name, column in columns.items():
            if column.shape != (self.num_events,) or column.dtype.kind not in "iu":
                raise SourceError(
                    f"{location}: {name} is {column.shape} {column.dtype}, expected ({self.num_events},) whole numbers"
                )
        if self.num_events == 0:
            raise SourceError(f"{location}: no event in it; leave the recording out or fetch it again")
        width, height = sensor_size
        x_low, x_high = _range("x", events.x, width, location, first_event)
        y_low, y_high = _range("y", events.y, height, location, first_event)
        _range("p", events.p, 2, location, first_event)
        if (events.t[1:] < events.t[:-1]).any():
            i = int(np.flatnonzero(events.t[1:] < events.t[:-1])[0]) + 1
            raise SourceError(
                f"{location}: time runs backwards at event {first_event + i}: "
                f"{events.t[i]} us after {events.t[i - 1]} us; sort it"
            )
        self.extent = Box(x_low, y_low, x_high - x_low + 1, y_high - y_low + 1)
        self.first_us, self.last_us = int(events.t[0]), int(events.t[-1])
        self._x = np.ascontiguousarray(events.x, np.uint16)
        self._y = np.ascontiguousarray(events.y, np.uint16)
        self._p = np.ascontiguousarray(events.p, np.uint8)
        self._t = events.t

    def split_at_times(self, edges_us: Sequence[int]) -> Indices:
        return np.searchsorted(self._t, np.array(edges_us, self._t.dtype)).astype(np.int64)

    def split_at_events(self, ordinals: Indices) -> Indices:
        return ordinals

    def num_events_between(self, start: int, stop: int) -> int:
        return stop - start

    def count(self, splits: Indices, tables: Tables, out: Counts) -> None:
        count_events(self._x, self._y, self._p, splits, tables, out)

    def resize(
        self, splits: Indices, tables: Tables, taps: tuple[Taps, Taps], counts: Counts, out: NDArray[np.float32]
    ) -> int:
        return int(resize_events(self._x, self._y, self._p, splits, tables, taps, counts, out))


def _range(name: str, values: NDArray[Any], limit: int, location: str, first_event: int) -> tuple[int, int]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= limit:
        i = int(np.flatnonzero((values < 0) | (values >= limit))[0])
        raise SourceError(f"{location}: event {first_event + i} has {name}={values[i]}, expected 0 to {limit - 1}")
    return low, high
