"""Kernels that recordings alone cannot reach into every corner of, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import as_records, event_lists

from dvs_transfer.stages.frames.kernels import (
    Tables,
    Taps,
    count_events,
    count_records,
    num_spare,
    resize_bilinear,
    store_half,
)
from dvs_transfer.stages.frames.records import check_records, first_unordered_record, record_edges
from dvs_transfer.stages.frames.resize import bilinear_taps, plan_columns

from naive import decode_records, pixels_read

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
@given(st.integers(1, 100), st.integers(0, 2**32 - 1), st.sampled_from((1, 300, 70_000, 2**23)), st.booleans())
def test_check_records(num_records: int, seed: int, limit: int, ordered: bool) -> None:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, limit, num_records))
    if not ordered:
        t[rng.integers(num_records)] = rng.integers(limit)
    columns = rng.integers(0, 256, (3, num_records))
    records = np.stack([*columns[:2], columns[2] >> 7 << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1).astype(np.uint8)
    found = np.empty(4, np.int64)
    assert check_records(records.reshape(-1), found) == (t[1:] >= t[:-1]).all()
    x, y = records[:, 0], records[:, 1]
    assert found.tolist() == [x.min(), x.max(), y.min(), y.max()]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_every_column_that_is_read_is_counted_where_it_is_read(extent: int, size: int) -> None:
    axis, low = plan_columns(3, extent, 64, "bilinear", size), 3
    taps = bilinear_taps(extent, size)
    found = {(place, x - low) for places in axis.table for x, place in enumerate(places) if place < 2 * size}
    expected = {(j, first) for j, first in enumerate(taps.first.tolist())}
    expected |= {(size + j, second) for j, second in enumerate(taps.second.tolist()) if taps.weight[j] > 0}
    assert found == expected
    is_spare = axis.table[0] == 2 * size  # and so one is told from an event at fewer places
    assert set(np.flatnonzero(~is_spare) - low) == pixels_read(extent, size)
    assert (axis.table[1:] != 2 * size).all()


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(0, 2**32 - 1), st.integers(1, 20_000))
def test_resize_to_halves_is_the_resize_rounded(size: int, seed: int, highest: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, highest, (2, 5, 2 * size + 2)).astype(np.uint16)
    first = np.sort(rng.integers(0, 4, size))
    rows = Taps(first, first + 1, rng.random(size, np.float32))
    weights = rng.random(size, np.float32)
    singles, halves = np.empty((2, size, size), np.float32), np.empty((2, size, size), np.uint16)
    resize_bilinear(counts, rows, weights, singles)
    resize_bilinear(counts, rows, weights, halves)
    one = np.float32(1)
    above, below, weight = counts[:, rows.first], counts[:, rows.second], rows.weight[:, None]
    lines = above.astype(np.float32) * (one - weight) + below.astype(np.float32) * weight
    expected = lines[..., :size] * (one - weights) + lines[..., size : 2 * size] * weights
    np.testing.assert_array_equal(singles, expected)
    np.testing.assert_array_equal(halves, expected.astype(np.float16).view(np.uint16))


def test_num_spare_counts_each_event_once() -> None:
    counts = np.zeros((1, 3, 6), np.uint16)
    counts[0, :2, :4] = 1  # read
    counts[0, 0, 4], counts[0, 1, 5] = 7, 100  # a spare column; read at fewer places than others
    counts[0, 2] = [2, 2, 0, 1, 3, 4]  # a spare row: each event at two places
    assert num_spare(counts, 2) == 7 + 6


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
    record_rows = np.zeros(0x8100, np.uint32)
    record_rows[:256], record_rows[0x8000:] = rows[::2], rows[1::2]
    tables = Tables(np.arange(256, dtype=np.uint32)[None], rows, record_rows)
    expected = np.ones((2, 2, 2, 4), np.uint32)
    expected[0, 1, 1, 3] = expected[1, 0, 0, 2] = 2
    out = np.ones_like(expected)
    count_records(records.reshape(-1), bin_edges, tables, out)
    np.testing.assert_array_equal(out, expected)
    out = np.ones_like(expected)
    x, y = (records[:, i].astype(np.uint16) for i in (0, 1))
    count_events(x, y, records[:, 2] >> 7, bin_edges, tables, out)
    np.testing.assert_array_equal(out, expected)
