"""Pieces of recordings, held ones and ones in pieces: NumPy's slices of the whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_recordings import make_events

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.order import WINDOW
from dvs_transfer.stages.sources import cutting
from dvs_transfer.stages.sources.atis import encode_records
from dvs_transfer.stages.sources.base import AtisRecords, Events, EventStream
from dvs_transfer.stages.sources.cutting import LATE_EVENTS, LongRecording
from dvs_transfer.stages.sources.formats import columns
from dvs_transfer.stages.sources.formats.columns import join

TIMES = st.lists(st.integers(-20, 40), max_size=30)
RANGES = st.lists(st.tuples(st.integers(-25, 45), st.integers(1, 30)), min_size=1, max_size=6)


def recording(times: list[int]) -> Events:
    """Its x tells which event of the file one is."""
    number = np.arange(len(times))
    return Events(number, number, np.array(times, np.int64), number % 2)


def as_stream(events: Events, size: int) -> EventStream:
    def pieces() -> Iterator[Events]:
        for first in range(0, len(events), size):
            yield Events(*(getattr(events, name)[first : first + size] for name in "xytp"))

    return EventStream(pieces, sensor_size=(64, 48))


def expected(times: list[int], start: int, length: int) -> list[int]:
    return [number for number, t in enumerate(times) if start <= t < start + length]


def found(cut: LongRecording, start: int, length: int) -> list[int]:
    try:
        piece = cut.cut(start, start + length, "piece")
    except SourceError as error:
        if not str(error).startswith("piece: no event in it"):
            raise
        return []
    events = join(piece.pieces()) if isinstance(piece, EventStream) else piece
    return [int(x) for x in events.x]


@settings(deadline=None)
@given(TIMES, RANGES)
def test_a_held_recording(times: list[int], ranges: list[tuple[int, int]]) -> None:
    cut = LongRecording(recording(times), "file")
    assert [found(cut, *each) for each in ranges] == [expected(times, *each) for each in ranges]
    assert cut.span() == ((min(times), max(times)) if times else None)


@settings(deadline=None)
@given(TIMES, RANGES, st.integers(1, 7), st.sampled_from((1, 3, 1000)))
def test_a_recording_in_pieces_in_whatever_order_it_is_cut(
    times: list[int], ranges: list[tuple[int, int]], size: int, num_held: int
) -> None:
    """Also where a piece is too long to be held. Events that are late by no more than is looked through are found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "HELD_EVENTS", num_held)
        cut = LongRecording(as_stream(recording(times), size), "file")
        assert [found(cut, *each) for each in ranges] == [expected(times, *each) for each in ranges]
        assert cut.span() == ((min(times), max(times)) if times else None)


def test_reading_stops_behind_a_piece_and_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "LATE_EVENTS", 10)
    read: list[int] = []
    events = recording(list(range(1000)))

    def pieces() -> Iterator[Events]:
        for piece in as_stream(events, 10).pieces():
            read.append(int(piece.t[0]))
            yield piece

    cut = LongRecording(EventStream(pieces), "file")
    assert found(cut, 100, 50) == list(range(100, 150))
    assert read == list(range(0, 160, 10))  # up to ten events behind the end
    assert found(cut, 145, 10) == list(range(145, 155))
    assert found(cut, 150, 20) == list(range(150, 170))
    assert read == list(range(0, 180, 10))  # each once
    assert found(cut, 0, 5) == list(range(5))
    assert read == [*range(0, 180, 10), 0, 10]  # from the beginning again


def test_as_many_late_events_are_found_as_frames_sort() -> None:
    assert LATE_EVENTS == WINDOW


def test_a_pass_that_failed_is_begun_again() -> None:
    fails = [True]

    def pieces() -> Iterator[Events]:
        yield recording([1, 2])
        if fails.pop():
            raise SourceError("damaged")
        yield recording([3, 4])

    cut = LongRecording(EventStream(pieces), "file")
    with pytest.raises(SourceError, match="damaged"):
        cut.cut(1, 9, "piece")
    fails.append(False)
    assert found(cut, 1, 8) == [0, 1, 0, 1]


def test_records_of_the_atis_are_decoded() -> None:
    events = make_events(500)
    records = AtisRecords(np.frombuffer(encode_records(events), np.uint8), None)
    piece = LongRecording(records, "file").cut(100_000, 200_000, "piece")
    assert isinstance(piece, Events)
    inside = (events.t >= 100_000) & (events.t < 200_000)
    np.testing.assert_array_equal(piece.x, events.x[inside])
    with pytest.raises(SourceError, match=r"file: 4 bytes .* are not a whole number of 5-byte records"):
        LongRecording(AtisRecords(np.zeros(4, np.uint8), None), "file")


def test_an_empty_piece_says_where_the_events_are() -> None:
    with pytest.raises(
        SourceError, match=r"piece: no event in it; the recording's go from 5 to 9 us. Times are the re"
    ):
        LongRecording(recording([5, 9]), "file").cut(6, 9, "piece")


@pytest.mark.parametrize("times", [[1.0, np.nan], [1.0, np.inf], [1.0, 2.0**60]])
def test_times_that_are_none_have_no_span(times: list[float]) -> None:
    number = np.arange(2)
    cut = LongRecording(Events(number, number, np.array(times), number), "file")
    with pytest.raises(SourceError, match="file: its times go from"):
        cut.span()


def test_an_event_without_a_time_is_left_to_who_judges() -> None:
    number = np.arange(3)
    events = Events(number, number, np.array([1.0, np.nan, 9.0]), number)
    piece = LongRecording(events, "file").cut(0, 5, "piece")
    assert isinstance(piece, Events)
    np.testing.assert_array_equal(piece.t, [1.0, np.nan])
    words = Events(number, number, np.array(["a", "b", "c"]), number)
    assert LongRecording(words, "file").cut(0, 5, "piece") is words
