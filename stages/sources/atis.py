"""Recordings and annotations as N-Caltech101 and N-MNIST store them (Orchard et al. 2015), read and written.

The ATIS camera's 40-bit event record: byte 0 is x, byte 1 is y, byte 2 polarity (bit 7) and bits 22-16 of the time,
bytes 3-4 its bits 15-0, in us. A record with y = 240 is no event: from it on, times are 2^13 us later.
Contours in an annotation, int16 little-endian: rows (2), columns (n), then x and y of each point.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .base import AtisRecords, Events, EventStream
from .formats.columns import join
from .random_access import MAX_READ_BYTES, InMemory, RandomAccess, as_access, num_records

RECORD_BYTES: Final = 5
OVERFLOW_ROW: Final = 240  # y of a time overflow marker
OVERFLOW_US: Final = 1 << 13
MAX_STORED_US: Final = (1 << 23) - 1
MAX_X: Final = 255


def open_records(
    data: bytes | RandomAccess, sensor_size: tuple[int, int] | None, location: str
) -> AtisRecords | EventStream:
    """The records of a recording, not decoded; of a file that is too large to be held, its events in pieces."""
    content = as_access(data, location)
    if content.size > MAX_READ_BYTES:
        num_records(content.size, RECORD_BYTES, location)
        return EventStream(partial(decode_pieces, content), sensor_size)
    return AtisRecords(np.frombuffer(content.read_at(0, content.size), dtype=np.uint8), sensor_size)


def decode_records(records: AtisRecords) -> Events:
    """The events of a recording of whole records, overflow markers resolved."""
    content = InMemory(records.data.tobytes(), "records")
    return join(_pieces(content, last_row=255))  # whether a row is one, `frames.checked` judges


def decode_pieces(content: RandomAccess) -> Iterator[Events]:
    """The events of a recording of any length, piece by piece. Raises SourceError: y that no record has."""
    return _pieces(content)


def _pieces(content: RandomAccess, **options: int) -> Iterator[Events]:
    from .formats.words import atis  # imports numba, which takes a second
    from .formats.words.stream import word_pieces

    return word_pieces(content, atis.words_of(**options))


def encode_records(events: Events) -> bytes:
    """The events, in order, as records, with overflow markers where 23 bits of time do not suffice.

    Each marker moves everything behind it by 2^13 us, so that a recording longer than 8.39 s gets one every 8.19 ms.
    Raises ValueError when an event does not fit: x > 255, y >= 240, a negative time, a polarity other than 0 and 1.
    """
    for name, values, limit in (("x", events.x, MAX_X), ("y", events.y, OVERFLOW_ROW - 1), ("p", events.p, 1)):
        if len(events) and not 0 <= values.min() <= values.max() <= limit:
            raise ValueError(f"{name} from {values.min()} to {values.max()} does not fit; 0 to {limit} does")
    if (np.diff(events.t, prepend=0) < 0).any():
        raise ValueError("a time is negative, or before the one of the event before it; sort by time, from 0 on")
    late_us = np.maximum(events.t - MAX_STORED_US, 0)
    num_markers = -(-late_us // OVERFLOW_US)  # up to each event, rounded up
    new_markers = np.diff(num_markers, prepend=0)
    records = np.zeros((len(events) + int(new_markers.sum()), RECORD_BYTES), np.uint8)
    rows = np.arange(len(events)) + num_markers
    is_event = np.zeros(len(records), bool)
    is_event[rows] = True
    records[~is_event, 1] = OVERFLOW_ROW
    stored_us = events.t - OVERFLOW_US * num_markers
    for column, values in enumerate(
        (events.x, events.y, (events.p.astype(np.int64) << 7) | (stored_us >> 16), stored_us >> 8, stored_us)
    ):
        records[rows, column] = values & 0xFF
    return records.tobytes()


def encode_annotation(contour: NDArray[np.int16], object_contour: NDArray[np.int16]) -> bytes:
    """The box (see `box_contour`) and the object's outline, each (n, 2) points (x, y) in pixels of the recording."""
    parts = []
    for points in (contour, object_contour):
        if points.dtype != np.int16 or points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"expected points (n, 2) of int16, got shape {points.shape} of {points.dtype}")
        parts.append(np.array([2, len(points)], "<i2").tobytes() + points.astype("<i2").tobytes())
    return b"".join(parts)


def box_contour(x_min: int, y_min: int, x_max: int, y_max: int) -> NDArray[np.int16]:
    """The corners of a box, closed, (5, 2): upper left, upper right, lower right, lower left, upper left."""
    return np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min)], np.int16)


def parse_box(data: bytes, location: str) -> list[int]:
    """[x_min, y_min, x_max, y_max] of an annotation's box, in pixels. Raises SourceError."""
    if len(data) >= 4:
        num_rows, num_columns = struct.unpack_from("<hh", data)
        if num_rows == 2 and num_columns > 0 and len(data) >= 4 + 4 * num_columns:
            x, y = np.frombuffer(data, dtype="<i2", count=2 * num_columns, offset=4).reshape(num_columns, 2).T
            return [int(x.min()), int(y.min()), int(x.max()), int(y.max())]
    raise SourceError(
        f"{location}: {len(data)} bytes do not hold a box (int16 rows = 2, columns, then their values at byte 4); "
        "fetch it again or remove it"
    )
