"""Recordings larger than memory, after the checks of `checked`, in every pass over them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...cache.errors import SourceError
from ..sources.base import EventStream
from .checked import LATEST_US, SORT_HINT, Box, CheckedEvents, CheckedRecording, Indices, Resized, Weights
from .kernels import Counts, Tables, Taps, num_spare, resize_bilinear
from .order import WINDOW, in_order
from .spec import Order


class CheckedStream(CheckedRecording):
    """A recording larger than memory, one piece in memory at a time. Checked when it was opened, and in every pass.

    So a file that changes while it is read cannot make a kernel write out of bounds; it raises SourceError instead.
    """

    def __init__(
        self, stream: EventStream, sensor_size: tuple[int, int], location: str, order: Order = "strict"
    ) -> None:
        self.sensor_size = sensor_size
        self._stream, self._location, self._order = stream, location, order
        self.num_events = 0
        extents: list[Box] = []
        for start, piece in self._pieces():
            if not start:
                self.first_us = piece.first_us
            self.num_events, self.last_us = start + piece.num_events, piece.last_us
            extents.append(piece.extent)
        if not extents:
            raise SourceError(f"{location}: no event in it; leave the recording out or fetch it again")
        self.num_records = self.num_events
        x, y = min(box.x for box in extents), min(box.y for box in extents)
        right, bottom = max(box.x + box.width for box in extents), max(box.y + box.height for box in extents)
        self.extent = Box(x, y, right - x, bottom - y)

    def _pieces(self) -> Iterator[tuple[int, CheckedEvents]]:
        """Each piece with the index of its first event."""
        if self._order == "strict":
            yield from self._judged()
            return
        start = 0
        last_us: int | None = None
        for events in in_order(piece.events for _, piece in self._judged()):
            piece = CheckedEvents(events, self.sensor_size, self._location, start)
            if last_us is not None and piece.first_us < last_us:
                raise SourceError(
                    f"{self._location}: a time of {piece.first_us} us comes more than {WINDOW} events after one of "
                    f"{last_us} us, too late to be sorted in a recording that is not held; sort the file"
                )
            yield start, piece
            start, last_us = start + piece.num_events, piece.last_us

    def _judged(self) -> Iterator[tuple[int, CheckedEvents]]:
        """Each piece as it is read, in itself in order, with the index of its first event."""
        start = num_moved = 0
        last_us: int | None = None
        signs: set[bool | None] = {None}
        for events in self._stream.pieces():
            if not len(events):
                continue
            before_us = -LATEST_US if last_us is None else last_us
            piece = CheckedEvents(events, self.sensor_size, self._location, start, self._order, before_us)
            if self._order == "strict" and last_us is not None and piece.first_us < last_us:
                raise SourceError(
                    f"{self._location}: time runs backwards at event {start}: {piece.first_us} us after {last_us} us; "
                    f"sort it ({SORT_HINT})"
                )
            signs.add(piece.has_signs)
            if len(signs) == 3:
                raise SourceError(
                    f"{self._location}: p is 0 in some events and -1 in others, seen from event {start} on; expected "
                    "one of the two"
                )
            yield start, piece
            start += piece.num_events
            num_moved += piece.num_moved
            last_us = max(piece.last_us, before_us)
        self.num_moved = num_moved

    def _again(self) -> Iterator[tuple[int, CheckedEvents]]:
        """The pieces of a later pass. Raises SourceError where they are not those of the first."""
        num_events = 0
        for start, piece in self._pieces():
            num_events = start + piece.num_events
            yield start, piece
        if num_events != self.num_events:
            raise SourceError(
                f"{self._location}: had {self.num_events} events at first and {num_events} later; "
                "leave the file alone while it is converted, and run the command again"
            )

    def edges_at_times(self, edges_us: Indices) -> Indices:
        # An edge's index is the number of events before it.
        return sum((piece.edges_at_times(edges_us) for _, piece in self._again()), np.zeros(len(edges_us), np.int64))

    def count(self, bin_edges: Indices, tables: Tables, out: Counts) -> None:
        for start, piece in self._again():
            piece.count(np.clip(bin_edges - start, 0, piece.num_events), tables, out)

    def resize(
        self, bin_edges: Indices, tables: Tables, rows: Taps, weights: Weights, counts: Counts, out: Resized
    ) -> int:
        k = num_unread = 0  # k: the bin whose counts are being collected
        counts[:] = 0
        for start, piece in self._again():
            local = np.clip(bin_edges - start, 0, piece.num_events)
            while k < len(out):
                piece.count(local[k : k + 2], tables, counts)
                if bin_edges[k + 1] > start + piece.num_events:
                    break  # it goes on in the next piece
                resize_bilinear(counts[0], rows, weights, out[k])
                num_unread += int(num_spare(counts[0], len(tables.columns)))
                counts[:] = 0
                k += 1
        return num_unread
