"""Hypothesis strategies for recordings, and recordings as the forms that readers and tonic know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.checked import CheckedEvents
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.atis import decode_records
from dvs_transfer.stages.sources.base import LARGEST_SENSOR, AtisRecords, Events, EventStream, Recording
from dvs_transfer.stages.sources.formats.columns import join

from naive import Event, encode_records

TIMES = {
    "short": st.integers(0, 12),  # many equal times, durations below the number of bins
    "usual": st.integers(0, 300_000),
    "negative": st.integers(-5_000, 5_000),
    "huge": st.integers(2**53 - 2**20, 2**53),
    "records": st.integers(0, 2**23 + 3 * 8192),  # a few overflow markers
}


@st.composite
def event_lists(
    draw: st.DrawFn,
    times: Sequence[str] = ("short", "usual", "negative", "huge"),
    sensor_size: tuple[int, int] = (9, 7),
) -> list[Event]:
    """One to sixty events on a small sensor, ordered in time, sometimes of one polarity only."""
    time = TIMES[draw(st.sampled_from(times))]
    polarity = draw(st.sampled_from([st.just(0), st.just(1), st.integers(0, 1)]))
    x, y = (st.integers(0, length - 1) for length in sensor_size)
    events = draw(st.lists(st.tuples(x, y, time, polarity), min_size=1, max_size=60))
    return sorted(events, key=lambda event: event[2])


def judged(recording: Recording, sensor_size: tuple[int, int] | None = None, location: str = "recording") -> Events:
    """The events of whatever a reader gives, after every check. Raises SourceError."""
    make_frames(recording, FramesConfig(), sensor_size, location)
    if isinstance(recording, AtisRecords):
        return decode_records(recording)
    events = join(recording.pieces()) if isinstance(recording, EventStream) else recording
    return CheckedEvents(events, recording.sensor_size or sensor_size or LARGEST_SENSOR, location).events


def as_events(events: Sequence[Event]) -> Events:
    """As a reader hands out decoded events."""
    x, y, t, p = (np.array(column) for column in zip(*events, strict=True))
    return Events(x.astype(np.uint16), y.astype(np.uint16), t.astype(np.int64), p.astype(np.uint8))


def as_records(events: Sequence[Event], sensor_size: tuple[int, int] = (9, 7)) -> AtisRecords:
    """As a reader hands out raw records: read-only, as they come from bytes."""
    return AtisRecords(np.frombuffer(encode_records(events), np.uint8), sensor_size)


def as_structured(events: Sequence[Event]) -> np.ndarray:
    """As tonic's data sets hand them out, shifted to the origin."""
    array = np.array(events, dtype=[("x", int), ("y", int), ("t", np.int64), ("p", int)])
    array["x"] -= array["x"].min()
    array["y"] -= array["y"].min()
    return array
