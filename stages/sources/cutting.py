"""Pieces of a recording between two times, whatever its length: exactly its events with start <= t < end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .atis import RECORD_BYTES, decode_records
from .base import AtisRecords, Events, EventStream, Recording
from .formats import columns
from .random_access import num_records
from .segment_tables import LATEST_US

LATE_EVENTS: Final = 1 << 20
"""As many events after a piece's end are looked through for late ones, as `frames.order` sorts."""


class LongRecording:
    """An opened recording, of which pieces are cut; `location` names its file. For one thread.

    A recording that is not held is read on from where the piece before was found, as far as pieces follow each other.
    """

    def __init__(self, recording: Recording, location: str) -> None:
        if isinstance(recording, AtisRecords):
            num_records(recording.data.size, RECORD_BYTES, location)
            recording = replace(decode_records(recording), sensor_size=recording.sensor_size)
        self._recording: Events | EventStream = recording
        self._location = location
        self._coming: Iterator[Events] | None = None  # the pass that goes on
        self._start_us = 0  # what lies before it is forgotten
        self._read: list[Events] = []

    def span(self) -> tuple[int, int] | None:
        """The earliest and the latest time, us; None where there is no event. Raises SourceError: no times."""
        recording = self._recording
        pieces = recording.pieces() if isinstance(recording, EventStream) else [recording]
        spans = [(piece.t.min(), piece.t.max()) for piece in pieces if _can_be_cut(piece) and len(piece)]
        if not spans:
            return None
        first, last = min(low for low, _ in spans), max(high for _, high in spans)
        if not (math.isfinite(first) and math.isfinite(last) and max(abs(int(first)), abs(int(last))) <= LATEST_US):
            raise SourceError(f"{self._location}: its times go from {first} to {last}; expected microseconds")
        return int(first), int(last)

    def cut(self, start_us: int, end_us: int, location: str) -> Events | EventStream:
        """The events with start_us <= t < end_us, in the file's order. Raises SourceError where there is none."""
        recording = self._recording
        if isinstance(recording, EventStream):
            piece = self._cut_stream(recording, start_us, end_us)
        else:
            piece = _within(recording, start_us, end_us)
        if isinstance(piece, Events) and not len(piece):
            span = self.span() if isinstance(recording, Events) else None
            there = f"; the recording's go from {span[0]} to {span[1]} us" if span else ""
            raise SourceError(f"{location}: no event in it{there}. Times are the recording's own time stamps")
        return piece

    def _cut_stream(self, stream: EventStream, start_us: int, end_us: int) -> Events | EventStream:
        """The events; in pieces again, where they are too many to be held."""
        held: list[Events] = []
        for part in _parts_within(self._from(stream, start_us), start_us, end_us):
            held.append(part)
            if sum(map(len, held)) > columns.HELD_EVENTS:
                self._coming, self._read = None, []
                return replace(
                    stream,
                    pieces=lambda: _parts_within(stream.pieces(), start_us, end_us),
                    guessed_unit=part.guessed_unit,
                    assumed=part.assumed,
                )
        return replace(columns.join(held), sensor_size=stream.sensor_size)

    def _from(self, stream: EventStream, start_us: int) -> Iterator[Events]:
        """The stream's pieces, but for some that are wholly before `start_us`."""
        if self._coming is None or start_us < self._start_us:
            self._coming, self._read = stream.pieces(), []
        self._start_us = start_us
        self._read = [piece for piece in self._read if not _is_before(piece, start_us)]
        yield from tuple(self._read)
        try:
            for piece in self._coming:
                if not _is_before(piece, start_us):
                    self._read.append(piece)
                yield piece
        except Exception:
            self._coming = None  # a pass that failed cannot go on
            raise


def _parts_within(pieces: Iterable[Events], start_us: int, end_us: int) -> Iterator[Events]:
    """Of each piece what lies within, up to where nothing more is to come."""
    num_after = 0
    for piece in pieces:
        within = _within(piece, start_us, end_us)
        if len(within):
            yield within
        before = np.flatnonzero(piece.t < end_us) if _can_be_cut(piece) else np.zeros(1, np.int64)
        num_after = len(piece) - 1 - int(before[-1]) if len(before) else num_after + len(piece)
        if num_after >= LATE_EVENTS:
            return


def _within(events: Events, start_us: int, end_us: int) -> Events:
    """Those of the piece, and any without a time: `frames.checked` says what is wrong with them."""
    if not _can_be_cut(events):
        return events
    inside: NDArray[np.bool_] = ~((events.t < start_us) | (events.t >= end_us))
    return replace(events, **{name: getattr(events, name)[inside] for name in "xytp"})


def _is_before(events: Events, start_us: int) -> bool:
    return _can_be_cut(events) and bool((events.t < start_us).all())


def _can_be_cut(events: Events) -> bool:
    shapes = {getattr(events, name).shape for name in "xytp"}
    return events.t.ndim == 1 and events.t.dtype.kind in "iuf" and len(shapes) == 1
