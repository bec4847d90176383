"""Kernels that recordings alone cannot reach into every corner of, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import as_records, event_lists

from dvs_transfer.stages.frames.kernels import (
    Tables,
    byte_ranges,
    count_events,
    count_records,
    first_unordered_record,
    record_edges,
    store_half,
)

from naive import decode_records

LARGEST = 65504


def test_store_half_rounds_as_numpy_does() -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)  # every one from 0 to 65504
    middles = (halves[1:] + halves[:-1]) / 2  # every tie
    around = [halves, middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(np.inf))]
    values = np.concatenate([*around, np.random.default_rng(3).random(100_000, np.float32)])
    out = np.empty(values.size, np.uint16)
    assert store_half(values, out) == 0
    np.testing.assert_array_equal(out, values.astype(np.float16).view(np.uint16))


def test_store_half_clips_and_counts() -> None:
    values = np.array([LARGEST, LARGEST + 1, 1e6, 3.4e38], np.float32)
    out = np.empty(4, np.uint16)
    assert store_half(values, out) == 3
    np.testing.assert_array_equal(out.view(np.float16), [LARGEST] * 4)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_byte_ranges(num_records: int, seed: int) -> None:
    records = np.random.default_rng(seed).integers(0, 256, (num_records, 5), np.uint8)
    low, high = np.empty(5, np.uint8), np.empty(5, np.uint8)
    byte_ranges(records.reshape(-1), low, high)
    np.testing.assert_array_equal(low, records.min(axis=0))
    np.testing.assert_array_equal(high, records.max(axis=0))


@settings(deadline=None)
@given(event_lists(times=("short", "records")), st.lists(st.integers(-5, 2**24), max_size=8).map(sorted))
def test_record_edges_is_searchsorted_of_the_decoded_times(events: list, edges: list[int]) -> None:
    data = as_records(events).data
    y = data[1::5]
    markers = np.append(np.flatnonzero(y == 240), y.size)
    out = np.empty(len(edges), np.int64)
    record_edges(data, markers, np.array(edges, np.int64), out)
    times = [event[2] for event in decode_records(data.tobytes())]
    positions = np.append(np.flatnonzero(y != 240), y.size)
    np.testing.assert_array_equal(out, positions[np.searchsorted(times, edges)])
    assert first_unordered_record(data, markers) == -1


@pytest.mark.parametrize("at", [1, 255, 256, 257, 599])
def test_first_unordered_record_across_blocks(at: int) -> None:
    records = np.zeros((600, 5), np.uint8)
    records[:, 3] = 1
    records[at:, 3] = 0
    assert first_unordered_record(records.reshape(-1), np.array([600])) == at
    with_markers = np.array([100, 300, 500, 600])  # records[at] is in the same segment as the one before
    assert first_unordered_record(records.reshape(-1), with_markers) == at


def test_both_counting_kernels_add_to_what_is_there() -> None:
    records = np.array([[3, 1, 128, 0, 0], [2, 0, 0, 0, 0]], np.uint8)
    bin_edges = np.array([0, 1, 2])
    rows = (np.arange(512) // 2 * 4 + np.arange(512) % 2 * 8).astype(np.uint32)
    tables = Tables(np.arange(256, dtype=np.uint32), rows)
    expected = np.ones((2, 2, 2, 4), np.uint32)
    expected[0, 1, 1, 3] = expected[1, 0, 0, 2] = 2
    out = np.ones_like(expected)
    count_records(records.reshape(-1), bin_edges, tables, out)
    np.testing.assert_array_equal(out, expected)
    out = np.ones_like(expected)
    x, y = (records[:, i].astype(np.uint16) for i in (0, 1))
    count_events(x, y, records[:, 2] >> 7, bin_edges, tables, out)
    np.testing.assert_array_equal(out, expected)
