from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic.io
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import Events, open_source
from dvs_transfer.stages.sources.atis import open_records

SENSOR = (240, 180)
TONIC_EVENT = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


def decode(data: bytes) -> Events:
    return judged(open_records(data, SENSOR, "a.bin"), location="a.bin")


def assert_equals_tonic(events: Events, path: Path) -> None:
    expected = tonic.io.read_mnist_file(str(path), TONIC_EVENT)
    for name in "xytp":
        np.testing.assert_array_equal(getattr(events, name), expected[name])


def test_a_record_by_hand() -> None:
    events = decode(bytes((0xEF, 0xB3, 0x81, 0x02, 0x03)) + bytes((0, 0, 0x7F, 0xFF, 0xFF)))
    assert (events.x.tolist(), events.y.tolist()) == ([239, 0], [179, 0])
    assert (events.t.tolist(), events.p.tolist()) == ([0x010203, 0x7FFFFF], [1, 0])
    assert (events.x.dtype, events.t.dtype, events.p.dtype) == (np.uint16, np.int64, np.uint8)


def test_an_overflow_marker_moves_what_follows_by_8192_us(make: Any) -> None:
    events = decode(make.records([(1, 1, 5, 0), (0, 240, 0, 0), (1, 1, 5, 0), (0, 240, 9, 1), (1, 1, 6, 1)]))
    assert events.t.tolist() == [5, 5 + 8192, 6 + 2 * 8192]


def test_real_recordings_equal_tonic(real_data: Path) -> None:
    source = open_source("nmnist", real_data / "NMNIST")
    assert len(source.samples) == 600
    for sample in source.samples[::20]:
        assert_equals_tonic(decode(source.read_bytes(sample)), Path(sample.location))


record = st.tuples(
    st.integers(0, 239), st.integers(0, 179) | st.just(240), st.integers(0, (1 << 23) - 1), st.integers(0, 1)
)


@settings(deadline=None)
@given(records=st.lists(record, min_size=1, max_size=60))
def test_any_recording_decodes_as_tonic_does_or_is_refused(tmp_path_factory: Any, make: Any, records: Any) -> None:
    records.sort(key=lambda event: event[2])
    path = tmp_path_factory.mktemp("recording") / "a.bin"
    path.write_bytes(make.records(records))
    if all(y == 240 for _, y, _, _ in records):
        with pytest.raises(SourceError, match="no event"):
            decode(path.read_bytes())
    else:
        assert_equals_tonic(decode(path.read_bytes()), path)


def test_truncation_at_every_offset(make: Any) -> None:
    data = make.records([(1, 2, t, 1) for t in range(6)])
    for size in range(len(data) + 1):
        if size and size % 5 == 0:
            assert len(decode(data[:size])) == size // 5
        else:
            problem = "no event" if size == 0 else rf"a\.bin: {size} bytes.*left over at byte {size // 5 * 5}\)"
            with pytest.raises(SourceError, match=problem):
                decode(data[:size])


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        (
            [(1, 1, 5, 0), (240, 1, 6, 0)],
            r"record 1 \(byte offset 5\) lies at x=240, y=1, outside the sensor",
        ),
        ([(1, 1, 5, 0), (1, 180, 6, 0)], r"record 1 \(byte offset 5\) lies at x=1, y=180"),
        ([(0, 240, 0, 0), (1, 1, 5, 0), (1, 1, 4, 0)], r"record 2 \(byte offset 10\): 8196 us is before"),
        ([(0, 240, 0, 0)], "1 records and no event"),
    ],
)
def test_damage_is_named_by_record_and_byte(make: Any, records: Any, problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        decode(make.records(records))


def test_one_polarity_alone_is_fine(make: Any) -> None:
    assert decode(make.records([(1, 1, 1, 1), (1, 1, 2, 1)])).p.tolist() == [1, 1]
