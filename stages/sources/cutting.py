"""Pieces of a recording between two times, whatever its length: exactly its events with start <= t < end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .atis import RECORD_BYTES, decode_records
from .base import AtisRecords, Events, EventStream, Recording
from .formats.columns import hold_short
from .random_access import num_records
from .segment_tables import LATEST_US

LATE_EVENTS: Final = 1 << 20
"""As many events after a piece's end are looked through for late ones, as `frames.order` sorts."""


class LongRecording:
    """An opened recording, of which pieces are cut; `location` names its file."""

    def __init__(self, recording: Recording, location: str) -> None:
        if isinstance(recording, AtisRecords):
            num_records(recording.data.size, RECORD_BYTES, location)
            recording = replace(decode_records(recording), sensor_size=recording.sensor_size)
        self._recording: Events | EventStream = recording
        self._location = location

    def span(self) -> tuple[int, int] | None:
        """The earliest and the latest time, us; None where there is no event. Raises SourceError: no times."""
        spans = [(piece.t.min(), piece.t.max()) for piece in self._pieces() if _can_be_cut(piece) and len(piece)]
        if not spans:
            return None
        first, last = min(low for low, _ in spans), max(high for _, high in spans)
        if not (math.isfinite(first) and math.isfinite(last) and max(abs(int(first)), abs(int(last))) <= LATEST_US):
            raise SourceError(f"{self._location}: its times go from {first} to {last}; expected microseconds")
        return int(first), int(last)

    def _pieces(self) -> Iterator[Events]:
        if isinstance(self._recording, EventStream):
            yield from self._recording.pieces()
        else:
            yield self._recording

    def cut(self, start_us: int, end_us: int, location: str) -> Events | EventStream:
        """The events with start_us <= t < end_us, in the file's order. Raises SourceError where there is none."""
        recording = self._recording
        piece: Events | EventStream
        if isinstance(recording, EventStream):
            pieces: Callable[[], Iterator[Events]] = partial(_pieces_within, recording, start_us, end_us)
            piece = hold_short(lambda: (recording.sensor_size, pieces()))
        else:
            piece = _within(recording, start_us, end_us)
        if isinstance(piece, Events) and not len(piece):
            span = self.span() if isinstance(recording, Events) else None
            there = f"; the recording's go from {span[0]} to {span[1]} us" if span else ""
            raise SourceError(f"{location}: no event in it{there}. Times are the recording's own time stamps")
        return piece


def _pieces_within(stream: EventStream, start_us: int, end_us: int) -> Iterator[Events]:
    """Up to where no event of the piece is to come."""
    num_after = 0
    for piece in stream.pieces():
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


def _can_be_cut(events: Events) -> bool:
    columns = [getattr(events, name) for name in "xytp"]
    return events.t.ndim == 1 and events.t.dtype.kind in "iuf" and len({column.shape for column in columns}) == 1
