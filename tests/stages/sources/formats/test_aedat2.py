"""AEDAT 2.0: read as specified and as tonic reads it, and every kind of damage refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from cifar_data import HEADER, Record, aedat2, dvs128
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import judged
from tonic.io import get_aer_events_from_file, read_aedat_header_from_file, read_davis_346

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import Events
from dvs_transfer.stages.sources.formats.columns import join
from dvs_transfer.stages.sources.formats.words import stream
from dvs_transfer.stages.sources.formats.words.aedat2 import words_of
from dvs_transfer.stages.sources.formats.words.stream import word_pieces
from dvs_transfer.stages.sources.random_access import InMemory

RECORDS = [(dvs128(0, 0, 0), 5), (dvs128(127, 3, 1), 5), (dvs128(9, 127, 0), 70_000)]
DAVIS_346 = HEADER + b"# Creation time: 12:00:00 1449150420\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346blue\r\n"

Rows = list[tuple[int, int, int, int]]  # x, y, t, p


def rows(data: bytes, camera: str | None = None) -> Rows:
    content = InMemory(data, "a.aedat")
    words = words_of(content, camera)
    return as_rows(judged(join(word_pieces(content, words)), words.sensor_size, "a.aedat"))


def as_rows(events: Events) -> Rows:
    columns = (events.x, events.y, events.t, events.p)
    assert [values.dtype for values in columns] == [np.uint16, np.uint16, np.int64, np.uint8]
    return list(zip(*(values.tolist() for values in columns), strict=True))


def test_dvs128_counts_from_the_lower_right_and_0_is_on() -> None:
    assert rows(aedat2(RECORDS)) == [(127, 127, 5, 1), (0, 124, 5, 0), (118, 0, 70_000, 1)]


@pytest.mark.parametrize("chip", [b"ch.unizh.ini.jaer.chip.retina.DVS128", b"class a.b.DVS128Phidget"])
def test_dvs128_named_by_the_header(chip: bytes) -> None:
    assert rows(aedat2(RECORDS, HEADER + b"# AEChip: " + chip + b"\r\n")) == rows(aedat2(RECORDS))


@pytest.mark.parametrize(
    "chip", [b"a.stereopsis.DVS128StereoPair", b"a.Davis240CStereoPair", b"a.DVS128andCochleaAMS1b"]
)
def test_two_sensors_in_one_file_are_refused(chip: bytes) -> None:
    with pytest.raises(SourceError, match="a file has to be one camera's recording: split it"):
        rows(aedat2(RECORDS, HEADER + b"# AEChip: " + chip + b"\r\n"))


def test_records_that_may_be_a_second_camera_s_are_told() -> None:
    content = InMemory(aedat2([*RECORDS, (0x8000 | dvs128(1, 1, 0), 70_001)]), "a.aedat")
    assert (
        "; 1 of the first 4 records are left out that are external input there, and of a second"
        in words_of(content).assumed
    )
    assert words_of(InMemory(aedat2(RECORDS), "a.aedat")).assumed.endswith("has the addresses of a DVS128")


def test_records_of_no_pixel_are_left_out() -> None:
    external = [(0x8000 | dvs128(1, 1, 0), 6), (0x8000_0000, 7)]
    assert rows(aedat2([*RECORDS[:2], *external, RECORDS[2]])) == rows(aedat2(RECORDS))


def test_the_clock_s_overflow_is_a_step_forward() -> None:
    times = [0xFFFF_FFF0, 0xFFFF_FFFF, 0, 7, 0x7FFF_FFFF, 0x8000_0000]
    found = [t for _, _, t, _ in rows(aedat2([(0, time) for time in times]))]
    assert found == [*times[:2], *(time + 2**32 for time in times[2:])]


def test_words_equal_tonic_s(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2(RECORDS))
    version, start, _ = read_aedat_header_from_file(str(path))
    words = get_aer_events_from_file(str(path), version, start)
    found = [(dvs128(127 - x, 127 - y, 1 - p), t) for x, y, t, p in rows(path.read_bytes())]
    assert found == list(zip(words["address"].tolist(), words["timeStamp"].tolist(), strict=True))


def davis(x: int, y: int, p: int) -> int:
    return y << 22 | x << 12 | p << 11


def test_davis_events_equal_tonic_s(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [
        (davis(int(rng.integers(346)), int(rng.integers(260)), int(rng.integers(2))), time) for time in range(200)
    ]
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2(records, DAVIS_346))
    _, _, expected = read_davis_346(str(path))
    assert rows(path.read_bytes()) == [tuple(int(event[name]) for name in "xytp") for event in expected]
    others = [(0x8000_0000 | davis(1, 1, 1), 300), (davis(1, 1, 1) | 0x400, 301)]  # an APS sample, an external input
    assert rows(aedat2([*records, *others], DAVIS_346)) == rows(path.read_bytes())


@pytest.mark.parametrize(("chip", "size"), [(b"DAVIS240C", (240, 180)), (b"Davis640", (640, 480))])
def test_the_davis_cameras_have_their_sizes(chip: bytes, size: tuple[int, int]) -> None:
    header = HEADER + b"# AEChip: eu.seebetter.ini.chips.davis." + chip + b"\r\n"
    assert rows(aedat2([(davis(0, 0, 1), 1)], header)) == [(size[0] - 1, size[1] - 1, 1, 1)]
    with pytest.raises(SourceError, match=f"word 0, byte .*: outside of its {size[0]} x {size[1]} pixels"):
        rows(aedat2([(davis(size[0], 0, 1), 1)], header))


@pytest.mark.parametrize(
    ("corner", "camera", "size"),
    [
        ((239, 179), "DAVIS240", (240, 180)),
        ((240, 100), "DAVIS346", (346, 260)),
        ((100, 260), "DAVIS640", (640, 480)),
    ],
)
def test_a_camera_without_a_name_is_told_by_its_addresses(
    corner: tuple[int, int], camera: str, size: tuple[int, int]
) -> None:
    data = aedat2([(davis(3, 4, 1), 1), (0x8000_0000 | 5, 2), (davis(*corner, 0), 3)])
    words = words_of(InMemory(data, "a.aedat"))
    smallest = f"is taken for a {camera}, the smallest DAVIS that has all of its addresses"
    assert words.assumed == f"names no camera, and {smallest}"
    assert words.sensor_size == size
    assert rows(data)[0] == (size[0] - 4, size[1] - 5, 1, 1)
    assert words_of(InMemory(aedat2(RECORDS), "a.aedat")).assumed.endswith("of a DVS128")
    assert words_of(InMemory(aedat2(RECORDS, DAVIS_346), "a.aedat")).assumed == ""
    with pytest.raises(SourceError, match="the address is none of a DVS128"):
        rows(data, "dvs128")


def test_addresses_of_no_camera_are_refused() -> None:
    with pytest.raises(SourceError, match="names no camera, and its addresses reach 701 x 4 pixels"):
        rows(aedat2([(davis(700, 3, 1), 1)]))
    with pytest.raises(SourceError, match="none of a DVS128"):  # a bit of one address is wrong
        rows(aedat2([*RECORDS, (0x40_0000 | dvs128(1, 1, 1), 70_001)]))


def test_a_record_that_looks_like_a_header_line() -> None:
    """Addresses of large cameras may begin with "#"."""
    record = struct.pack(">II", davis(0x123, 0x8C, 0), 1)
    assert record.startswith(b"#")
    assert rows(DAVIS_346 + record) == [(345 - 0x123, 259 - 0x8C, 1, 0)]
    text = b"#abc\r\n##"  # a record that is a whole line, too: the header's last line tells
    with pytest.raises(SourceError, match="none of a DAVIS346: outside of its 346 x 260 pixels"):
        rows(DAVIS_346 + b"#End Of ASCII Header\r\n" + text)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "starts with b'', expected the line '#!AER-DAT2.0'"),
        (b"#!AER-DAT", "expected the line"),
        (b"\0" * 16, "expected the line"),
        (aedat2(RECORDS, b"#!AER-DAT3.1\r\n"), "AEDAT 3.1, expected AEDAT 2.0; convert it"),
        (aedat2(RECORDS, b"#!AER-DAT4.0\r\n"), "AEDAT 4.0, expected"),
        (aedat2(RECORDS, HEADER + b"# AEChip: a.b.Cochlea64\r\n"), r"recorded by a\.b\.Cochlea64"),
        (aedat2([]), "no event in it"),
        (aedat2([(0x8000, 1)]), "no event in it"),
        (aedat2([*RECORDS, (0, 69_999)]), "time runs backwards at event 3: 69999 us after 70000 us"),
        (
            aedat2([(0x8000 | dvs128(1, 2, 1), 1), (0x1_0000, 2)]),
            rf"word 1, byte {len(HEADER) + 8}: the address is none of a DVS128",
        ),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, problem: str) -> None:
    with pytest.raises(SourceError, match=rf"^a\.aedat: .*{problem}"):
        rows(data)


def test_damage_in_a_later_piece_is_named_by_its_place_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(stream, "PIECE_EVENTS", 2)
    content = InMemory(aedat2([*RECORDS, (0x1_0000, 70_001)]), "a.aedat")
    pieces = word_pieces(content, words_of(content, "dvs128"))
    assert as_rows(judged(next(pieces))) == rows(aedat2(RECORDS[:2]))
    with pytest.raises(SourceError, match=f"word 3, byte {len(HEADER) + 24}: the address"):
        next(pieces)


def test_cut_off_at_every_byte() -> None:
    whole = aedat2(RECORDS)
    for size in range(len(whole)):
        left = size - len(HEADER)
        if left > 0 and left % 8 == 0:
            assert rows(whole[:size]) == rows(whole)[: left // 8]
        else:
            with pytest.raises(SourceError):
                rows(whole[:size])


addresses = st.builds(dvs128, st.integers(0, 127), st.integers(0, 127), st.integers(0, 1)) | st.just(0x8000)
recordings = st.lists(st.tuples(addresses, st.integers(0, 2**26)), min_size=1, max_size=30)


@settings(deadline=None)
@given(recordings, st.integers(0, 2**32 - 1), st.integers(1, 31))
def test_equals_a_record_by_record_reading(steps: list[Record], time: int, piece_records: int) -> None:
    records, expected = [], []
    for address, step in [(0, 0), *steps]:
        time += step
        records.append((address, time))
        if address != 0x8000:
            expected.append((127 - (address >> 1 & 127), 127 - (address >> 8), time, 1 - (address & 1)))
    data = aedat2(records)
    assert rows(data) == expected
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "_BLOCK_BYTES", 8 * piece_records)
        patched.setattr(stream, "PIECE_EVENTS", piece_records)
        content = InMemory(data, "a.aedat")
        words = words_of(content)
        held = [as_rows(judged(piece)) for piece in word_pieces(content, words)]
    assert (words.sensor_size, [row for piece in held for row in piece]) == ((128, 128), expected)
    assert all(0 < len(piece) < piece_records + stream.ROOM for piece in held)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"#!AER-DAT2.0\r\n", HEADER, DAVIS_346]))
def test_any_bytes_are_read_or_refused(data: bytes, header: bytes) -> None:
    try:
        found = rows(header + data)
    except SourceError:
        return
    assert all(0 <= x < 346 and 0 <= y < 260 and p in (0, 1) for x, y, _, p in found)
    assert [t for _, _, t, _ in found] == sorted(t for _, _, t, _ in found)
