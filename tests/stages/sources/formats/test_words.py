"""Formats of binary words: what is written is read, as word by word, whatever the blocks; damage is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import judged
from word_files import (
    ATIS,
    COLOUR,
    FORMATS,
    SIZE,
    BadWordError,
    Row,
    Rows,
    aedat31,
    dat,
    es,
    evt2,
    evt3,
    evt21,
    evt_header,
    packet,
)

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.base import Events, EventStream
from dvs_transfer.stages.sources.formats import columns
from dvs_transfer.stages.sources.formats.columns import join
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.formats.words import stream
from dvs_transfer.stages.sources.random_access import InMemory

SLOW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
NAMES = pytest.mark.parametrize("name", FORMATS)


def read(data: bytes, suffix: str = "") -> Events:
    recording = open_recording(InMemory(data, "a.raw"), suffix)
    if isinstance(recording, EventStream):
        return join(recording.pieces())
    assert isinstance(recording, Events)
    return recording


def rows_of(events: Events) -> Rows:
    kinds = [getattr(events, name).dtype for name in "xytp"]
    assert kinds == [np.uint16, np.uint16, np.int64, np.uint8]
    return list(zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True))


def read_or_refused(data: bytes) -> tuple[Rows, str]:
    """The events, and the message of a refusal."""
    try:
        return rows_of(read(data)), ""
    except SourceError as error:
        return [], str(error)


@contextmanager
def blocks(block_bytes: int, piece_events: int) -> Iterator[None]:
    """Every recording a stream, read in blocks and pieces of these sizes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "_BLOCK_BYTES", block_bytes)
        patched.setattr(stream, "PIECE_EVENTS", piece_events)
        patched.setattr(columns, "HELD_EVENTS", 0)
        yield


@st.composite
def recordings(draw: st.DrawFn, name: str) -> list[Row]:
    """Up to 80 events, some of them neighbours at the same time, some near an overflow of the format's counter."""
    given_format = FORMATS[name]
    time = draw(st.sampled_from(tuple(given_format.first_times)))
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 20))):
        time += draw(st.sampled_from((0, 1, 50, 127, 300, 5000, 70_000))) if number else 0
        y, p = draw(st.integers(0, given_format.y_limit - 1)), 1 if "colour" in name else draw(st.integers(0, 1))
        x = draw(st.integers(0, given_format.x_limit - 40))
        rows += [(x + step, y, time, p) for step in sorted(draw(st.sets(st.integers(0, 39), min_size=1, max_size=4)))]
    return rows


@NAMES
@SLOW
@given(st.data())
def test_what_was_written_is_read_in_blocks_of_any_length(name: str, data: st.DataObject) -> None:
    rows = data.draw(recordings(name))
    content = FORMATS[name].write(rows)
    assert FORMATS[name].read(content[len(FORMATS[name].header) :]) == rows
    found = read(content, FORMATS[name].suffix)
    assert rows_of(found) == rows
    assert rows_of(judged(found)) == rows
    with blocks(data.draw(st.integers(28, 90)), data.draw(st.integers(1, 40))):
        assert rows_of(read(content)) == rows


@NAMES
@SLOW
@given(st.data())
def test_any_bytes_are_read_as_word_by_word_or_refused_at_the_same_place(name: str, data: st.DataObject) -> None:
    given_format = FORMATS[name]
    whole = bytearray(given_format.write(data.draw(recordings(name))))
    start = len(given_format.header)
    if data.draw(st.booleans()):
        whole[start:] = data.draw(st.binary(max_size=300))
    for _ in range(data.draw(st.integers(1, 5)) if len(whole) > start else 0):
        whole[data.draw(st.integers(start, len(whole) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(whole[start:])
    content = content[: len(content) // (given_format.word_bytes or 1) * (given_format.word_bytes or 1)]
    bad_at: int | None = None
    try:
        expected = given_format.read(content)
    except BadWordError as bad:
        bad_at, expected = start + bad.offset, bad.rows
    for block_bytes in (1 << 17, data.draw(st.integers(28, 90))):
        with blocks(block_bytes, data.draw(st.integers(1, 50))):
            found, problem = read_or_refused(given_format.header + content)
        if bad_at is not None:
            assert f"byte {bad_at}: " in problem or "ends within a packet" in problem
        else:
            assert found == expected
            assert not problem or (not expected and "no EVT_TIME_HIGH word" in problem)
    try:
        events = judged(read(given_format.header + content))
    except SourceError:
        return
    assert (events.t[1:] >= events.t[:-1]).all()
    assert events.x.max() < SIZE[0]
    assert events.y.max() < SIZE[1]


@NAMES
def test_cut_off_at_every_byte(name: str) -> None:
    given_format = FORMATS[name]
    rows: list[Row] = [(5 + 3 * i, 7, 100 * i, 1) for i in range(6)]
    whole = given_format.write(rows)
    for size in range(1, len(whole)):
        if size <= len(given_format.header):
            with pytest.raises(SourceError, match=r"a\.raw: "):
                judged(open_recording(InMemory(whole[:size], "a.raw"), ""), location="a.raw")
            continue
        found, problem = read_or_refused(whole[:size])
        assert found == rows[: len(found)]
        is_cut = bool(given_format.word_bytes and (size - len(given_format.header)) % given_format.word_bytes)
        assert not is_cut or "truncated" in problem


@NAMES
def test_a_long_recording_comes_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [(i % 120, i // 7 % 100, 3 * i, 1) for i in range(3000)]
    monkeypatch.setattr(columns, "HELD_EVENTS", 500)
    monkeypatch.setattr(stream, "PIECE_EVENTS", 400)
    recording = open_recording(InMemory(FORMATS[name].write(rows), "a.raw"), "")
    assert isinstance(recording, EventStream)
    for _ in range(2):
        pieces = list(recording.pieces())
        assert all(0 < len(piece) < 400 + stream.ROOM for piece in pieces)
        assert rows_of(join(pieces)) == rows


# Words and what they mean --------------------------------------------------------------------------------------------

EVT3 = evt_header("3.0")


def evt3_words(*words: int) -> bytes:
    return EVT3 + b"".join(word.to_bytes(2, "little") for word in words)


def test_an_event_of_evt3_has_the_time_of_the_last_word() -> None:
    """Also where that steps back, as between two sources; and not that of an EVT_TIME_HIGH without its lower bits."""
    words = (0x8001, 0x6020, 0x0007, 0x2003, 0x8001, 0x602B, 0x6022, 0x2803, 0x8002, 0x2004, 0x6000, 0x2805)
    assert rows_of(read(evt3_words(*words))) == [
        (3, 7, 0x1020, 0),
        (3, 7, 0x1022, 1),
        (4, 7, 0x1022, 0),
        (5, 7, 0x2000, 1),
    ]


def test_events_before_the_first_words_of_time_and_row_are_passed_over() -> None:
    words = (0x0001, 0x2003, 0x6005, 0x2004, 0x3006, 0x4001, 0x8001, 0x2005, 0x6007, 0x2008)
    assert rows_of(read(evt3_words(*words))) == [(5, 1, 0x1000, 0), (8, 1, 0x1007, 0)]
    assert rows_of(read(evt3_words(0x8001, 0x6007, 0x2008, 0x3009, 0x4001, 0x0002, 0x5003))) == [
        (21, 2, 0x1007, 0),
        (22, 2, 0x1007, 0),
    ]
    row = (1, 2, 70, 1)
    start = len(evt_header("2.0"))
    first = evt2([row])
    assert rows_of(read(first[:start] + first[start + 4 :] + evt2([(3, 4, 129, 0)])[start:])) == [(3, 4, 129, 0)]
    with pytest.raises(SourceError, match=r"a\.raw: no EVT_TIME_HIGH word in it, so that no event has a time"):
        read(first[:start] + first[start + 4 :])


def test_words_that_are_no_events_of_pixels_are_passed_over() -> None:
    others = (0xA001, 0xE123, 0xF456, 0x7001)
    assert rows_of(read(evt3_words(0x8000, 0x6001, 0x0002, *others, 0x2003))) == [(3, 2, 1, 0)]


@pytest.mark.parametrize("reserved", [1, 9, 11, 12, 13])
def test_a_reserved_type_of_evt3_is_refused(reserved: int) -> None:
    with pytest.raises(SourceError, match=rf"a\.raw: word 3, byte {len(EVT3) + 6}: a word of a reserved type"):
        read(evt3_words(0x8000, 0x6001, 0x0002, reserved << 12))


@pytest.mark.parametrize("legacy", [False, True])
def test_the_order_of_halves_that_no_header_tells_is_seen(legacy: bool) -> None:
    rows: list[Row] = [(10 * i, i, 64 * i, i % 2) for i in range(40)]
    assert rows_of(read(evt21(rows, None, legacy))) == rows
    with pytest.raises(SourceError, match=r"EVT 2\.1 of endianness big; little and legacy are read"):
        read(evt21(rows, "big"))


def test_times_that_step_back_are_no_overflow() -> None:
    rows: list[Row] = [(1, 1, 5000, 1), (2, 1, 4990, 1)]
    for write in (dat, evt2, evt3):
        assert rows_of(read(write(rows))) == rows
        with pytest.raises(SourceError, match="time runs backwards at event 1: 4990 us after 5000 us"):
            judged(read(write(rows)))


def test_a_counter_that_steps_back_below_0_is_no_file_without_a_time() -> None:
    words = b"".join(word.to_bytes(4, "little") for word in (8 << 28, 1 << 28 | 3 << 11 | 4, 8 << 28 | 2**28 - 1))
    assert rows_of(read(evt_header("2.0") + words)) == [(3, 4, 0, 1)]
    assert rows_of(read(evt3_words(0x8000, 0x0001, 0x2003, 0x8FFF, 0x6FFF, 0x2004))) == [(3, 1, 0, 0), (4, 1, -1, 0)]


def test_a_silence_of_more_than_half_an_overflow_is_no_step_back() -> None:
    words = (0x8000, 0x0001, 0x6005, 0x2003, 0x8000 | 2500, 0x6005, 0x2004, 0x8000 | 2499, 0x6006, 0x2005)
    assert [t for _, _, t, _ in rows_of(read(evt3_words(*words)))] == [5, 2500 * 4096 + 5, 2499 * 4096 + 6]


def test_ncars_headers() -> None:
    rows: list[Row] = [(3, 4, 0, 1)]
    assert rows_of(read(dat(rows, kind=0))) == rows
    assert read(dat(rows)).sensor_size is None
    assert rows_of(read(dat(rows, more="% Camera Café\n"))) == rows
    assert read(dat(rows, more="% Height 480\n% Width 640\n")).sensor_size == (640, 480)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dat([], kind=14), r"byte 46: DAT with events of type 14 and 8 bytes; type 0 and 12"),
        (dat([]).replace(b"Version 2", b"Version 3"), "DAT of version 3; 1 and 2 are read"),
        (dat([])[:-1], "-1 bytes after byte 48 are not a whole number of 8-byte records"),
        (evt_header("5.0"), r"EVT of version 5\.0; 2, 2\.1, 3 and 4 are read"),
        (aedat31([]).replace(b"RAW", b"PNG"), "AEDAT 3.1 with packets of the format PNG; RAW is read"),
        (aedat31([])[:40], "no line '#!END-HEADER'"),
        (aedat31([]) + packet(1, 9, [], 0), r"byte \d+: a packet whose header cannot be"),
        (aedat31([]) + packet(1, 8, [(1, 2**31)], 0), "an event with a negative time"),
        (aedat31([(1, 1, 1, 1)]) + packet(1, 8, [(1, 5)], 0, source=3), "events of a second camera"),
        (aedat31([(1, 1, 1, 1)])[:-3], "ends within a packet; it is truncated"),
        (es([], SIZE).replace(b"\2\0\0", b"\1\0\0"), r"Event Stream of version 1\.0\.0; version 2 is read"),
        (es([], SIZE, 0), r"Event Stream of type 0 \(generic\)"),
        (es([], SIZE)[:18], "ends within the header"),
        (es([(1, 1, 1, 1)], SIZE)[:-1], "byte 20: the file ends 4 bytes later, within a word; it is truncated"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=rf"^a\.raw: .*{message}"):
        read(data)


@pytest.mark.parametrize("name", ["evt3", "es dvs", "dat2"])
def test_pixels_beyond_the_sensor_are_refused(name: str) -> None:
    data = FORMATS[name].write([(5, 5, 0, 1), (1300, 5, 1, 1)])
    with pytest.raises(SourceError, match="event 1 has x=1300, expected a whole number from 0 to 1279"):
        judged(read(data))


def test_the_camera_of_aedat_31_tells_the_sensor() -> None:
    rows: list[Row] = [(3, 4, 5, 1)]
    sizes = {"DVS128": (128, 128), "DAVIS240C": (240, 180), "DAVIS346B": (346, 260), "Unknown": None}
    assert {camera: read(aedat31(rows, camera)).sensor_size for camera in sizes} == sizes


def test_what_is_assumed_is_told() -> None:
    rows: list[Row] = [(3, 4, 5, 1)]
    assert read(es(rows, SIZE, COLOUR)).assumed == "has colours and no polarity: all of its events count as ON"
    assert read(es(rows, SIZE, ATIS)).assumed == ""
    with blocks(100, 1):
        recording = open_recording(InMemory(es(rows * 40, SIZE, COLOUR), "a.es"), ".es")
    assert isinstance(recording, EventStream)
    assert recording.assumed
