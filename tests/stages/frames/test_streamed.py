"""Recordings in pieces give the frames of the same events held whole, and are checked across pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import as_events, event_lists

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import Events, EventStream

from naive import Event

SENSOR = (9, 7)


def as_stream(events: Sequence[Event], lengths: Sequence[int]) -> EventStream:
    """In pieces of these lengths (also 0), and the rest in one."""

    def pieces() -> Iterator[Events]:
        whole = as_events(events)
        edges = [0, *np.minimum(np.cumsum(lengths), len(events)), len(events)]
        for start, stop in itertools.pairwise(edges):
            yield Events(whole.x[start:stop], whole.y[start:stop], whole.t[start:stop], whole.p[start:stop])

    return EventStream(pieces, SENSOR)


@settings(deadline=None)  # the first call compiles
@given(
    event_lists(),
    st.lists(st.integers(0, 20), max_size=60),
    st.sampled_from(["time", "count", "window", "exact"]),
    st.sampled_from(["bilinear", "sum", "none"]),
    st.booleans(),
    st.integers(1, 12),
)
def test_pieces_of_any_length_change_nothing(
    events: list[Event], lengths: list[int], mode: str, resize: str, crop: bool, num_bins: int
) -> None:
    window_us = 3_000 if mode == "window" else None
    config = FramesConfig(
        mode=mode, num_bins=num_bins, window_us=window_us, resize=resize, size=0 if resize == "none" else 5, crop=crop
    )
    whole = make_frames(as_events(events), config, SENSOR)
    streamed = make_frames(as_stream(events, lengths), config)
    assert streamed.data.tobytes() == whole.data.tobytes()
    for name in ("num_events", "num_dropped", "num_in_frames", "num_saturated", "duration_us", "origin", "extent"):
        assert getattr(streamed, name) == getattr(whole, name), name


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(0, 0, 5, 0), (0, 0, 6, 0), (0, 0, 4, 1)], "backwards at event 2: 4 us after 6 us"),
        ([(0, 0, 5, 0), (0, 0, 6, 0), (9, 0, 7, 1)], "event 2 has x=9, expected a whole number from 0 to 8"),
        ([(0, 0, 5, 0), (0, 0, 6, 0), (0, 0, 7, 2)], "event 2 has p=2"),
        ([(0, 0, 5, 0), (0, 0, 4, 0), (0, 0, 7, 1)], "backwards at event 1: 4 us after 5 us"),
    ],
)
@pytest.mark.parametrize("lengths", [[1, 1, 1], [2], [3]])
def test_checks_reach_over_pieces(events: list[Event], lengths: list[int], message: str) -> None:
    with pytest.raises(SourceError, match=rf"a\.raw: .*{message}"):
        make_frames(as_stream(events, lengths), FramesConfig(), location="a.raw")


def test_no_events_at_all() -> None:
    with pytest.raises(SourceError, match=r"a\.raw: no event in it"):
        make_frames(EventStream(lambda: iter(()), SENSOR), FramesConfig(), location="a.raw")


@pytest.mark.parametrize("mode", ["time", "count"])
def test_a_file_that_changes_between_the_passes_is_refused(mode: str) -> None:
    """With another number of events, or coordinates that the tables do not have."""
    first = as_events([(0, 0, 0, 0), (1, 1, 9, 1)])
    for later, message in (
        (as_events([(0, 0, 0, 0)]), "had 2 events at first and 1 later"),
        (as_events([(0, 0, 0, 0), (1000, 1, 9, 1)]), "x=1000"),
    ):
        passes = iter([first, later, later])
        stream = EventStream(lambda passes=passes: iter([next(passes)]), SENSOR)
        with pytest.raises(SourceError, match=message):
            make_frames(stream, FramesConfig(mode=mode, num_bins=2))
