"""Times that step back: refused, or sorted as a stable sort of the whole recording would, with a count of the moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_recordings import as_structured, make_events
from recordings import as_events, as_records, event_lists

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames import order
from dvs_transfer.stages.frames.binning import Frames, make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import Events, EventStream

from naive import Event

SENSOR = (9, 7)


@st.composite
def shuffled(draw: st.DrawFn, times: Sequence[str] = ("short", "usual", "negative")) -> list[Event]:
    return draw(st.permutations(draw(event_lists(times=times, sensor_size=SENSOR))))


def stably_sorted(events: Sequence[Event]) -> list[Event]:
    """By insertion: each event behind all that are not later."""
    found: list[Event] = []
    for event in events:
        place = len(found)
        while place and found[place - 1][2] > event[2]:
            place -= 1
        found.insert(place, event)
    return found


def num_moved(events: Sequence[Event]) -> int:
    return sum(any(before[2] > event[2] for before in events[:i]) for i, event in enumerate(events))


def in_pieces(events: Sequence[Event], length: int) -> EventStream:
    return EventStream(lambda: (as_events(events[i : i + length]) for i in range(0, len(events), length)), SENSOR)


def assert_same(found: Frames, expected: Frames) -> None:
    assert found.data.tobytes() == expected.data.tobytes()
    for name in ("num_events", "num_dropped", "num_in_frames", "num_saturated", "duration_us", "origin", "extent"):
        assert getattr(found, name) == getattr(expected, name), name


def config(mode: str, **others: Any) -> FramesConfig:
    window_us = 3_000 if mode == "window" else None
    return FramesConfig(mode=mode, num_bins=4, window_us=window_us, size=5, **others)


@settings(deadline=None)  # the first call compiles
@given(shuffled(), st.integers(1, 20), st.sampled_from(["time", "count", "window", "exact"]))
def test_events_in_any_order_give_the_frames_of_the_sorted_ones(events: list[Event], length: int, mode: str) -> None:
    expected = make_frames(as_events(stably_sorted(events)), config(mode), SENSOR)
    for recording in (as_events(events), in_pieces(events, length)):
        found = make_frames(recording, config(mode, order="sort"), SENSOR)
        assert_same(found, expected)
        assert found.num_moved == num_moved(events)
    assert expected.num_moved == 0


@settings(deadline=None)
@given(shuffled(times=("records",)))
def test_records_in_any_order(events: list[Event]) -> None:
    """Of 23 bits of time: those that need no overflow marker, whose place in the file is part of the time."""
    events = [(x, y, t % (1 << 22), p) for x, y, t, p in events]
    records = as_records(events, SENSOR)
    expected = make_frames(as_records(stably_sorted(events), SENSOR), config("time"))
    found = make_frames(records, config("time", order="sort"))
    assert_same(found, expected)
    assert found.num_moved == num_moved(events)
    if found.num_moved:
        with pytest.raises(SourceError, match=r"time runs backwards at record \d+ .*--order sort"):
            make_frames(records, config("time"))


def test_sorting_changes_nothing_that_is_in_order() -> None:
    events = [(1, 2, 5, 0), (3, 1, 5, 1), (0, 0, 9, 1)]
    for recording in (as_events(events), as_records(events, SENSOR), in_pieces(events, 2)):
        found = make_frames(recording, config("count", order="sort"), SENSOR)
        assert_same(found, make_frames(recording, config("count"), SENSOR))
        assert found.num_moved == 0


@settings(deadline=None, max_examples=50)
@given(shuffled(), st.integers(1, 20), st.integers(1, 9))
def test_a_recording_in_pieces_is_sorted_right_or_refused(events: list[Event], length: int, window: int) -> None:
    """Whatever is held back; refused only where an event is later than that."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(order, "WINDOW", window)
        found, refusal = None, ""
        try:
            found = make_frames(in_pieces(events, length), config("count", order="sort"), SENSOR, "a.h5")
        except SourceError as error:
            refusal = str(error)
    if found is None:
        assert "too late to be sorted" in refusal
        assert max(sum(e[2] > event[2] for e in events[:i]) for i, event in enumerate(events)) > window
    else:
        assert_same(found, make_frames(as_events(stably_sorted(events)), config("count"), SENSOR))
        assert found.num_moved == num_moved(events)


def test_checks_are_those_of_unsorted_events() -> None:
    for events, message in (
        ([(0, 0, 9, 0), (0, 0, 5, 2)], "event 1 has p=2"),
        ([(0, 0, 9, -1), (0, 0, 5, 0)], "p is 0 in some|event 1 has p=0 where others have -1"),
        ([(0, 0, 9, 0), (9, 0, 5, 0)], "event 1 has x=9"),
    ):
        for length in (1, 2):
            signed = [(x, y, t, p) for x, y, t, p in events]
            columns = [np.array(column) for column in zip(*signed, strict=True)]

            def pieces(columns: Any = columns, length: int = length) -> Any:
                return (Events(*(column[i : i + length] for column in columns)) for i in range(0, 2, length))

            with pytest.raises(SourceError, match=message):
                make_frames(EventStream(pieces, SENSOR), config("time", order="sort"), location="a.h5")


def test_a_conversion_tells_how_many_were_moved(tmp_path: Path) -> None:
    (tmp_path / "raw" / "a").mkdir(parents=True)
    events = as_structured(make_events())
    np.save(tmp_path / "raw" / "a" / "good.npy", events)
    jumbled = events.copy()
    jumbled[[100, 101, 700, 702]] = jumbled[[101, 100, 702, 700]]
    moved = num_moved([(0, 0, int(t), 0) for t in jumbled["t"]])
    np.save(tmp_path / "raw" / "a" / "jumbled.npy", jumbled)

    def convert(**frames: Any) -> Any:
        settings = ConvertConfig(
            source="folder", raw=tmp_path / "raw", out=tmp_path, frames=FramesConfig(resize="sum", **frames)
        )
        return conversion.run(settings)

    strict, found = convert(), convert(order="sort")
    assert list(strict.quarantined) == ["a/jumbled"]
    assert "num_moved/zarr.json" not in FrameStore(strict.path).attributes.files
    store = FrameStore(found.path)
    assert store.column("num_moved").tolist() == [0, moved]
    (warning,) = found.warnings
    assert warning == (
        f"{moved} events of 1 recordings were earlier than one before them, and were sorted (frames.order = "
        f'"sort"): a/jumbled: {moved}'
    )
    first, second = store.read("frames", np.arange(2))
    np.testing.assert_array_equal(first, second)
