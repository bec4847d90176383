"""The 40-bit event records of the ATIS camera, as N-Caltech101 and N-MNIST store them (Orchard et al. 2015).

Byte 0: x. Byte 1: y. Byte 2: polarity (bit 7) and bits 22-16 of the time. Bytes 3-4: bits 15-0 of the time, in us.
A record with y = 240 is no event: from it on, times are 2^13 us later.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ...cache.errors import SourceError
from .base import AtisRecords, Events

RECORD_BYTES: Final = 5
OVERFLOW_ROW: Final = 240  # y of a time overflow marker
OVERFLOW_US: Final = 1 << 13


def as_records(data: bytes, sensor_size: tuple[int, int], location: str) -> AtisRecords:
    """The records of a recording, not decoded. Raises SourceError when it is empty or ends within a record."""
    num_events, rest = divmod(len(data), RECORD_BYTES)
    if not data:
        raise SourceError(f"{location}: the file is empty, expected records of {RECORD_BYTES} bytes; fetch it again")
    if rest:
        raise SourceError(
            f"{location}: {len(data)} bytes is not a whole number of {RECORD_BYTES}-byte records ({rest} left over at "
            f"byte {num_events * RECORD_BYTES}, after record {num_events}); the file is truncated: fetch it again"
        )
    return AtisRecords(np.frombuffer(data, dtype=np.uint8), sensor_size)


def decode_records(records: AtisRecords, location: str) -> Events:
    """The events of a recording, overflow markers resolved.

    Raises SourceError, with record number and byte offset, where an event lies outside the sensor or is earlier than
    the one before it, and when there are no events.
    """
    fields = records.data.reshape(-1, RECORD_BYTES)
    y_all = fields[:, 1]
    is_event = y_all != OVERFLOW_ROW
    time_us = ((fields[:, 2] & 0x7F).astype(np.int64) << 16) | (fields[:, 3].astype(np.int64) << 8) | fields[:, 4]
    time_us += OVERFLOW_US * np.cumsum(~is_event)
    numbers = np.flatnonzero(is_event)
    if not len(numbers):
        raise SourceError(f"{location}: {len(fields)} time overflow markers and no event; remove the recording")
    x, y, t = fields[numbers, 0], y_all[numbers], time_us[numbers]
    width, height = records.sensor_size
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
    return Events(x.astype(np.uint16), y.astype(np.uint16), t, fields[numbers, 2] >> 7)


def _where(location: str, record: np.intp) -> str:
    return f"{location}: record {record} (byte {record * RECORD_BYTES})"
