"""What is written in N-Caltech101's formats is read back the same, by this project's reader and by tonic's."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tonic.io import read_mnist_file

from dvs_transfer.stages.sources.atis import (
    MAX_STORED_US,
    box_contour,
    decode_records,
    encode_annotation,
    encode_records,
)
from dvs_transfer.stages.sources.base import AtisRecords, Events

TONIC_DTYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


def recording(t: list[int], seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        x=rng.integers(0, 256, len(t)).astype(np.uint16),
        y=rng.integers(0, 240, len(t)).astype(np.uint16),
        t=np.array(t, np.int64),
        p=rng.integers(0, 2, len(t)).astype(np.uint8),
    )


def times(longest_us: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, longest_us), min_size=1, max_size=60).map(sorted)


@settings(deadline=None)
@given(
    t=times(300_000) | times(MAX_STORED_US + 5 * 8192) | times(4 * MAX_STORED_US),
    seed=st.integers(0, 2**32 - 1),
)
def test_recordings_are_read_back(t: list[int], seed: int) -> None:
    events = recording(t, seed)
    data = encode_records(events)
    ours = decode_records(AtisRecords(np.frombuffer(data, np.uint8), (256, 240)))
    tonics = read_mnist_file(io.BytesIO(data), TONIC_DTYPE, is_stream=True)
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(events, name))
        np.testing.assert_array_equal(tonics[name], getattr(events, name))


def test_short_recordings_need_no_marker_and_long_ones_as_many_as_needed() -> None:
    assert len(encode_records(recording([0, MAX_STORED_US]))) == 2 * 5
    assert len(encode_records(recording([0, MAX_STORED_US + 1]))) == 3 * 5
    assert len(encode_records(recording([0, MAX_STORED_US + 8192]))) == 3 * 5
    assert len(encode_records(recording([0, MAX_STORED_US + 8193]))) == 4 * 5


def test_bits_of_a_record() -> None:
    events = Events(
        np.array([7], np.uint16), np.array([9], np.uint16), np.array([0x123456], np.int64), np.array([1], np.uint8)
    )
    assert encode_records(events) == bytes([7, 9, 0x80 | 0x12, 0x34, 0x56])


def test_no_events_are_no_bytes() -> None:
    assert encode_records(recording([])) == b""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.array([1, 256], np.uint16)}, "x from 1 to 256 does not fit"),
        ({"y": np.array([240, 1], np.uint16)}, "y from 1 to 240"),
        ({"p": np.array([0, 2], np.uint8)}, "p from 0 to 2"),
        ({"t": np.array([-1, 2])}, "a time is negative"),
        ({"t": np.array([5, 4])}, "before the one of the event before"),
    ],
)
def test_events_that_do_not_fit_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    events = recording([1, 2])
    fields = {name: changed.get(name, getattr(events, name)) for name in ("x", "y", "t", "p")}
    with pytest.raises(ValueError, match=message):
        encode_records(Events(**fields))


def test_annotation_is_two_blocks_of_points() -> None:
    data = encode_annotation(box_contour(3, 4, 30, 40), np.array([[1, 2], [-3, 4]], np.int16))
    numbers = struct.unpack(f"<{len(data) // 2}h", data)
    assert numbers == (2, 5, 3, 4, 30, 4, 30, 40, 3, 40, 3, 4, 2, 2, 1, 2, -3, 4)


def test_annotation_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match="expected points"):
        encode_annotation(box_contour(0, 0, 1, 1), np.zeros((2, 5), np.int16))
