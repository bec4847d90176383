"""Recordings and annotations as N-Caltech101 stores them: what `atis` reads, and the contours beside it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .atis import OVERFLOW_ROW, OVERFLOW_US, RECORD_BYTES
from .base import Events

MAX_STORED_US: Final = (1 << 23) - 1
MAX_X: Final = 255


def encode_records(events: Events) -> bytes:
    """The events as 40-bit records (the format of `atis`), with overflow markers where 23 bits of time do not suffice.

    Each marker moves everything behind it by 2^13 us, so that a recording longer than 8.39 s gets one every 8.19 ms.
    Raises ValueError when an event does not fit: x > 255, y >= 240, a negative time or one that runs backwards, a
    polarity other than 0 and 1.
    """
    _check(events)
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
    """The box and the object's outline, each (n, 2) points (x, y) in pixels of the recording, int16.

    N-Caltech101's annotation format, little-endian int16: rows (2), columns (n), then x and y of each point, for the
    box and again for the outline. `box_contour` gives the box in the published order of its corners.
    """
    parts = []
    for points in (contour, object_contour):
        if points.dtype != np.int16 or points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"expected points (n, 2) of int16, got shape {points.shape} of {points.dtype}")
        parts.append(np.array([2, len(points)], "<i2").tobytes() + points.astype("<i2").tobytes())
    return b"".join(parts)


def box_contour(x_min: int, y_min: int, x_max: int, y_max: int) -> NDArray[np.int16]:
    """The corners of a box, closed, (5, 2): upper left, upper right, lower right, lower left, upper left."""
    return np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), (x_min, y_min)], np.int16)


def _check(events: Events) -> None:
    if not len(events):
        return
    for name, values, highest in (("x", events.x, MAX_X), ("y", events.y, OVERFLOW_ROW - 1), ("p", events.p, 1)):
        if values.max() > highest:
            raise ValueError(
                f"{name} = {values.max()} of event {values.argmax()} does not fit; the highest is {highest}"
            )
    if events.t[0] < 0:
        raise ValueError(f"the first time is {events.t[0]} us; times start at 0")
    backwards = np.flatnonzero(events.t[1:] < events.t[:-1])
    if len(backwards):
        raise ValueError(
            f"the time of event {backwards[0] + 1} is before the one of event {backwards[0]}; sort by time"
        )
