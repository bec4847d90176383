"""The 40-bit event records of the ATIS camera, as N-Caltech101 and N-MNIST store them (Orchard et al. 2015).

Byte 0: x. Byte 1: y. Byte 2: polarity (bit 7) and bits 22-16 of the time. Bytes 3-4: bits 15-0 of the time, in us.
A record with y = 240 is no event: from it on, times are 2^13 us later.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .base import AtisRecords, Events, EventStream, UInt8Array
from .random_access import MAX_READ_BYTES, RandomAccess, as_access

RECORD_BYTES: Final = 5
OVERFLOW_ROW: Final = 240  # y of a time overflow marker
OVERFLOW_US: Final = 1 << 13
_PIECE_RECORDS: Final = 1 << 20
LARGEST_RECORD: Final = (256, OVERFLOW_ROW)  # (width, height) that a record can address


def open_records(
    data: bytes | RandomAccess, sensor_size: tuple[int, int] | None, location: str
) -> AtisRecords | EventStream:
    """The records of a recording, not decoded; of a file that is too large to be held, its events in pieces.

    Raises SourceError when it is empty or ends within a record.
    """
    content = as_access(data, location)
    num_records, rest = divmod(content.size, RECORD_BYTES)
    if not content.size:
        raise SourceError(f"{location}: the file is empty, expected records of {RECORD_BYTES} bytes; fetch it again")
    if rest:
        raise SourceError(
            f"{location}: {content.size} bytes is not a whole number of {RECORD_BYTES}-byte records ({rest} left over "
            f"at byte {num_records * RECORD_BYTES}, after record {num_records}); the file is truncated: fetch it again"
        )
    if content.size > MAX_READ_BYTES:
        return EventStream(partial(decode_pieces, content), sensor_size)
    return AtisRecords(np.frombuffer(content.read_at(0, content.size), dtype=np.uint8), sensor_size)


def decode_records(records: AtisRecords, location: str) -> Events:
    """The events of a recording, overflow markers resolved.

    Raises SourceError, with record number and byte offset, where an event lies outside the sensor or is earlier than
    the one before it, and when there are no events.
    """
    events, numbers = _decode(records.data)
    if not len(numbers):
        num_markers = len(records.data) // RECORD_BYTES
        raise SourceError(f"{location}: {num_markers} time overflow markers and no event; remove the recording")
    x, y, t = events.x, events.y, events.t
    width, height = records.sensor_size or LARGEST_RECORD
    outside = np.flatnonzero((x >= width) | (y >= height))
    if len(outside):
        first = outside[0]
        raise SourceError(
            f"{_where(location, numbers[first])}: pixel ({x[first]}, {y[first]}) lies outside the {width} x {height} "
            "sensor; the file is damaged: fetch it again"
        )
    backwards = np.flatnonzero(t[1:] < t[:-1]) + 1
    if len(backwards):
        first = backwards[0]
        raise SourceError(
            f"{_where(location, numbers[first])}: time {t[first]} us after {t[first - 1]} us runs backwards; "
            "the file is damaged: fetch it again"
        )
    return events


def decode_pieces(content: RandomAccess) -> Iterator[Events]:
    """The events of a recording of any length, about a million at a time; their order is not checked.

    Raises SourceError for rows that no record can address.
    """
    num_markers = 0
    for first_byte in range(0, content.size, _PIECE_RECORDS * RECORD_BYTES):
        data = np.frombuffer(content.read_at(first_byte, _PIECE_RECORDS * RECORD_BYTES), np.uint8)
        events, numbers = _decode(data, num_markers * OVERFLOW_US)
        outside = np.flatnonzero(events.y > OVERFLOW_ROW)
        if len(outside):
            record = np.intp(first_byte // RECORD_BYTES + numbers[outside[0]])
            raise SourceError(
                f"{_where(content.location, record)}: y = {events.y[outside[0]]} is no row; fetch it again"
            )
        num_markers += len(data) // RECORD_BYTES - len(numbers)
        yield events


def _decode(data: UInt8Array, offset_us: int = 0) -> tuple[Events, NDArray[np.intp]]:
    """The events of records whose times are `offset_us` later, and the number of each one's record."""
    fields = data.reshape(-1, RECORD_BYTES)
    y_all = fields[:, 1]
    is_event = y_all != OVERFLOW_ROW
    time_us = ((fields[:, 2] & 0x7F).astype(np.int64) << 16) | (fields[:, 3].astype(np.int64) << 8) | fields[:, 4]
    time_us += offset_us + OVERFLOW_US * np.cumsum(~is_event)
    numbers = np.flatnonzero(is_event)
    x, y, t, p = fields[numbers, 0], y_all[numbers], time_us[numbers], fields[numbers, 2] >> 7
    return Events(x.astype(np.uint16), y.astype(np.uint16), t, p), numbers


def _where(location: str, record: np.intp) -> str:
    return f"{location}: record {record} (byte {record * RECORD_BYTES})"
