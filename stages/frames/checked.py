"""Recordings after every check: what counting needs to know of a recording, whichever form it came in.

Readers decode; this is the one place that judges. Nothing gets past here that the kernels could not count: coordinates
outside the sensor, other polarities, fractions, time running backwards, half a record and recordings without events are
refused, naming the event and, for raw records, the byte offset; then columns become the narrow types of the kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ..sources.base import Events
from ..sources.random_access import num_records
from ..sources.ranges import Look
from .columns import KEPT_AS, is_kept_as, judge_column
from .kernels import (
    ROW_OF_A_RECORD,
    Counts,
    Tables,
    Taps,
    count_events,
    count_records,
    resize_events,
    resize_records,
)
from .order import by_time, num_late
from .records import (
    OVERFLOW_US,
    OVERFLOW_Y,
    check_records,
    first_unordered_record,
    record_edges,
    record_time,
)
from .spec import Order
from .vectors import RECORD_BYTES

Indices = NDArray[np.int64]
Weights = NDArray[np.float32]
Resized = NDArray[np.float32 | np.uint16]
LATEST_US: Final = 1 << 53  # in either direction: 285 years, and exact as a double
SORT_HINT: Final = 'frames.order = "sort", --order sort'


@dataclass(frozen=True, slots=True)
class Box:
    """The pixels a recording's frames cover: columns x .. x + width - 1 and rows y .. y + height - 1 of the sensor."""

    x: int
    y: int
    width: int
    height: int


class CheckedRecording(ABC):
    """A recording whose records are known to be countable. Its indices count records: events and overflow markers."""

    num_events: int
    num_records: int
    first_us: int
    last_us: int
    extent: Box
    """The smallest box that holds every event."""
    sensor_size: tuple[int, int]
    num_moved: int = 0
    """How many events were earlier than one before them, and were sorted."""

    @abstractmethod
    def edges_at_times(self, edges_us: Indices) -> Indices:
        """Index of the first event at or after each edge, `num_records` after the last event; edges ascending."""

    def edges_at_events(self, ordinals: Indices) -> Indices:
        """Index of the ordinal-th event (0 is the first) for each, `num_records` past the last."""
        return ordinals

    def num_events_between(self, start: int, stop: int) -> int:
        """How many of the records start .. stop - 1 are events."""
        return stop - start

    @abstractmethod
    def count(self, bin_edges: Indices, tables: Tables, out: Counts) -> None:
        """Add the events between neighbouring bin edges to the frames of `out` (T, 2, H, W)."""

    @abstractmethod
    def resize(
        self, bin_edges: Indices, tables: Tables, rows: Taps, weights: Weights, counts: Counts, out: Resized
    ) -> int:
        """Fill `out` (T, 2, S, S) with the counts, resized by the taps of rows and the columns' weights.

        Returns how many of the records between the first and the last edge no pixel of `out` reads.
        counts: (1, 2, H, W), memory to work in.
        """


class CheckedRecords(CheckedRecording):
    """Raw 5-byte records that passed every check.

    is_ordered: whether their times are in order; with order "sort" it may be False, and they cannot be counted so.
    """

    def __init__(
        self, data: NDArray[np.uint8], sensor_size: tuple[int, int], location: str, order: Order = "strict"
    ) -> None:
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError(f"records are a (5 * n,) uint8 array, not {data.shape} {data.dtype}")
        self._data = np.ascontiguousarray(data)
        self.sensor_size = sensor_size
        self.num_records = num_records(data.size, RECORD_BYTES, location)
        found = np.empty(4, np.int64)
        self.is_ordered = check_records(self._data, found)
        ranges = tuple(found.tolist())
        self._markers = np.array([self.num_records])
        if ranges[3] >= OVERFLOW_Y:  # few recordings have overflow markers; their x and y are not an event's
            is_marker = self._data[1::RECORD_BYTES] == OVERFLOW_Y
            self._markers = np.append(np.flatnonzero(is_marker), self.num_records)
            if self._markers.size <= self.num_records:
                x, y = (self._data[i::RECORD_BYTES][~is_marker] for i in (0, 1))
                ranges = (int(x.min()), int(x.max()), int(y.min()), int(y.max()))
            self.is_ordered = first_unordered_record(self._data, self._markers) < 0
        self.num_events = self.num_records - (self._markers.size - 1)
        if self.num_events == 0:
            raise SourceError(f"{location}: {self.num_records} records and no event among them; fetch the file again")
        x_low, x_high, y_low, y_high = ranges
        if x_high >= sensor_size[0] or y_high >= min(sensor_size[1], OVERFLOW_Y):
            self._refuse_coordinates(location)
        self.extent = Box(x_low, y_low, x_high - x_low + 1, y_high - y_low + 1)
        if not self.is_ordered and order == "strict":
            unordered = first_unordered_record(self._data, self._markers)
            raise SourceError(
                f"{location}: time runs backwards at record {unordered} (byte offset {unordered * RECORD_BYTES}): "
                f"{self._time(unordered)} us is before the event before it; the file is damaged: fetch it again, or "
                f"sort it ({SORT_HINT})"
            )
        ends = [0, self.num_records - 1]
        if self._markers.size > 1:
            ends = self.edges_at_events(np.array([0, self.num_events - 1])).tolist()
        self.first_us, self.last_us = map(self._time, ends)

    def _time(self, i: int) -> int:
        num_before = int(np.searchsorted(self._markers, i)) if self._markers.size > 1 else 0
        return int(record_time(self._data, i)) + OVERFLOW_US * num_before

    def _refuse_coordinates(self, location: str) -> None:
        x, y = self._data[0::RECORD_BYTES], self._data[1::RECORD_BYTES]
        width, height = self.sensor_size[0], min(self.sensor_size[1], OVERFLOW_Y)
        i = int(np.flatnonzero(((x >= width) | (y >= height)) & (y != OVERFLOW_Y))[0])
        raise SourceError(
            f"{location}: record {i} (byte offset {i * RECORD_BYTES}) lies at x={x[i]}, y={y[i]}, outside the "
            f"sensor's {width} x {height} pixels; the file is damaged or another sensor's"
        )

    def edges_at_times(self, edges_us: Indices) -> Indices:
        out = np.empty(len(edges_us), np.int64)
        record_edges(self._data, self._markers, edges_us, out)
        return out

    def edges_at_events(self, ordinals: Indices) -> Indices:
        events_before_marker = self._markers[:-1] - np.arange(self._markers.size - 1)
        return ordinals + np.searchsorted(events_before_marker, ordinals, side="right")

    def num_events_between(self, start: int, stop: int) -> int:
        if self._markers.size == 1:
            return stop - start
        return stop - start - int(np.diff(np.searchsorted(self._markers, [start, stop]))[0])

    def count(self, bin_edges: Indices, tables: Tables, out: Counts) -> None:
        count_records(self._data, bin_edges, self._without_markers(tables, out), out)

    def resize(
        self, bin_edges: Indices, tables: Tables, rows: Taps, weights: Weights, counts: Counts, out: Resized
    ) -> int:
        tables = self._without_markers(tables, counts)
        return resize_records(self._data, bin_edges, tables, rows, weights, counts, out)

    def _without_markers(self, tables: Tables, counts: Counts) -> Tables:
        """The tables with the overflow markers' row sent to the spare one."""
        if self._markers.size == 1:
            return tables
        rows = tables.record_rows.copy()
        rows[[OVERFLOW_Y, ROW_OF_A_RECORD - 255 + OVERFLOW_Y]] = (counts.shape[2] - 1) * counts.shape[3]
        return tables._replace(record_rows=rows)


class CheckedEvents(CheckedRecording):
    """Decoded events that passed every check: `events` are the same with x and y uint16, t int64 (us), p 0 or 1 uint8.

    first_event: index of the first one in the recording, where `events` are a piece of it; for messages.
    before_us: the latest time before this piece, for the number of events that are sorted.
    has_signs: whether p was -1 or 1; None where 1 is all there is.
    """

    events: Events

    def __init__(
        self,
        events: Events,
        sensor_size: tuple[int, int],
        location: str,
        first_event: int = 0,
        order: Order = "strict",
        before_us: int = -LATEST_US,
    ) -> None:
        self.sensor_size = sensor_size
        self.num_events = self.num_records = len(events)
        if not self._passes_at_once(events):
            self._judge(events, location, first_event, order)
        if order == "sort":
            self.num_moved = num_late(self.events.t, before_us)
            self.events = by_time(self.events)
            self.first_us, self.last_us = int(self.events.t[0]), int(self.events.t[-1])

    def _passes_at_once(self, events: Events) -> bool:
        """Keep events whose columns have the kernels' types and pass every check, in one look at each value."""
        columns = (events.x, events.y, events.t, events.p)
        if len(events) == 0 or not all(map(is_kept_as, columns, KEPT_AS, (len(events),) * 4)):
            return False
        found = events.ranges
        if found is None:
            look = Look()
            look.at(*columns)
            found = look.ranges()
        width, height = self.sensor_size
        if not (found.is_ordered and found.x_high < width and found.y_high < height and found.p_high <= 1):
            return False
        first_us, last_us = int(events.t[0]), int(events.t[-1])
        if first_us < -LATEST_US or last_us > LATEST_US:
            return False
        self.events, self.has_signs = events, None if found.p_low else False
        self.extent = Box(found.x_low, found.y_low, found.x_high - found.x_low + 1, found.y_high - found.y_low + 1)
        self.first_us, self.last_us = first_us, last_us
        return True

    def _judge(self, events: Events, location: str, first_event: int, order: Order) -> None:
        sensor_size = self.sensor_size
        judge = partial(judge_column, location=location, first_event=first_event, shape=(self.num_events,))
        x = judge("x", events.x, np.uint16, 0, sensor_size[0] - 1)
        y = judge("y", events.y, np.uint16, 0, sensor_size[1] - 1)
        t = judge("t", events.t, np.int64, -LATEST_US, LATEST_US, guess=events.guessed_unit)
        p = judge("p", events.p, np.int8, -1, 1)
        unordered = np.flatnonzero(t[1:] < t[:-1]) + 1
        if len(unordered) and order == "strict":
            i = int(unordered[0])
            raise SourceError(
                f"{location}: time runs backwards at event {first_event + i}: {t[i]} us after {t[i - 1]} us; sort it "
                f"({SORT_HINT})"
            )
        lowest = int(p.min())
        self.has_signs = {-1: True, 0: False, 1: None}[lowest]
        zeros = np.flatnonzero(p == 0) if self.has_signs else np.empty(0)
        if len(zeros):
            raise SourceError(
                f"{location}: event {first_event + int(zeros[0])} has p=0 where others have -1, expected either 0 and "
                "1 or -1 and 1"
            )
        self.events = Events(x, y, t, (p == 1).view(np.uint8), events.sensor_size, events.guessed_unit, events.assumed)
        x_low, y_low = int(x.min()), int(y.min())
        self.extent = Box(x_low, y_low, int(x.max()) - x_low + 1, int(y.max()) - y_low + 1)
        self.first_us, self.last_us = int(t[0]), int(t[-1])

    def edges_at_times(self, edges_us: Indices) -> Indices:
        return np.searchsorted(self.events.t, edges_us).astype(np.int64)

    def count(self, bin_edges: Indices, tables: Tables, out: Counts) -> None:
        count_events(self.events.x, self.events.y, self.events.p, bin_edges, tables, out)

    def resize(
        self, bin_edges: Indices, tables: Tables, rows: Taps, weights: Weights, counts: Counts, out: Resized
    ) -> int:
        x, y, p = self.events.x, self.events.y, self.events.p
        return int(resize_events(x, y, p, bin_edges, tables, rows, weights, counts, out))
