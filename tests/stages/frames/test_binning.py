"""Frames against the naive twins, against tonic and torch, and on input that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from recordings import as_events, as_records, as_structured, event_lists
from tonic.io import read_mnist_file
from tonic.transforms import ToFrame

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import AtisRecords, Events

from naive import Event, bilinear, bounding_box, count, decode_records

SENSOR = (9, 7)
MODES = ("time", "count", "window", "exact")
COUNTS = FramesConfig(resize="none", dtype="uint16")
unhurried = settings(deadline=None)  # the first call compiles


def with_mode(mode: str, num_bins: int, window_us: int, **others: object) -> FramesConfig:
    return FramesConfig(mode=mode, num_bins=num_bins, window_us=window_us if mode == "window" else None, **others)


@unhurried
@given(event_lists(), st.sampled_from(MODES), st.integers(1, 12), st.integers(1, 4_000))
def test_counts_are_those_of_the_definition(events: list[Event], mode: str, num_bins: int, window_us: int) -> None:
    config = with_mode(mode, num_bins, window_us, resize="none", dtype="uint16")
    frames = make_frames(as_events(events), config, SENSOR)
    box = bounding_box(events)
    expected, num_dropped = count(events, mode, num_bins, window_us, box, (box[3], box[2]))
    np.testing.assert_array_equal(frames.data[:, :, : box[3], : box[2]], expected)
    assert frames.data.shape == (num_bins, 2, 7, 9)
    assert frames.data.sum() == expected.sum()
    assert (frames.num_events, frames.num_dropped) == (len(events), num_dropped)
    assert (frames.origin, frames.extent) == (box[:2], box[2:])
    assert frames.duration_us == events[-1][2] - events[0][2]


@unhurried
@given(event_lists(times=("short", "usual", "records")), st.sampled_from(MODES), st.integers(1, 12))
def test_raw_records_give_the_frames_of_their_events(events: list[Event], mode: str, num_bins: int) -> None:
    for resize in ("none", "sum", "bilinear"):
        config = with_mode(mode, num_bins, 3_000, resize=resize, size=0 if resize == "none" else 5)
        raw, decoded = make_frames(as_records(events), config), make_frames(as_events(events), config, SENSOR)
        np.testing.assert_array_equal(raw.data, decoded.data)
        assert (raw.num_dropped, raw.duration_us, raw.extent) == (
            decoded.num_dropped,
            decoded.duration_us,
            decoded.extent,
        )


@unhurried
@given(event_lists(), st.integers(1, 12))
@example([(0, 0, 5, 1)], 3)
@example([(0, 0, 5, 1), (1, 1, 5, 1)], 1)
def test_time_and_count_are_tonics_bit_for_bit(events: list[Event], num_bins: int) -> None:
    _, _, width, height = bounding_box(events)
    for mode, option in (("time", "n_time_bins"), ("count", "n_event_bins")):
        expected = ToFrame(sensor_size=(width, height, 2), **{option: num_bins})(as_structured(events))
        config = FramesConfig(mode=mode, num_bins=num_bins, resize="none", dtype="uint16")
        found = make_frames(as_events(events), config, SENSOR).data[:, :, :height, :width]
        np.testing.assert_array_equal(found, expected)


@unhurried
@given(event_lists(), st.integers(1, 40_000))
def test_windows_are_tonics_where_tonic_has_any(events: list[Event], window_us: int) -> None:
    assume(events[-1][2] - events[0][2] < 100 * window_us)
    _, _, width, height = bounding_box(events)
    expected = ToFrame(sensor_size=(width, height, 2), time_window=window_us)(as_structured(events))
    config = FramesConfig(mode="window", window_us=window_us, num_bins=len(expected), resize="none", dtype="uint16")
    found = make_frames(as_events(events), config, SENSOR).data[:, :, :height, :width]
    np.testing.assert_array_equal(found, expected)


@unhurried
@given(event_lists(), st.integers(1, 12))
def test_exact_loses_no_event_and_changes_only_the_last_bin(events: list[Event], num_bins: int) -> None:
    exact = make_frames(as_events(events), with_mode("exact", num_bins, 1, resize="none"), SENSOR)
    time = make_frames(as_events(events), with_mode("time", num_bins, 1, resize="none"), SENSOR)
    assert exact.num_dropped == 0
    assert exact.data.sum() == len(events)
    np.testing.assert_array_equal(exact.data[:-1], time.data[:-1])
    assert (exact.data[-1] >= time.data[-1]).all()


@unhurried
@given(event_lists(), st.integers(1, 20))
def test_sum_conserves_the_total_and_is_the_definition(events: list[Event], size: int) -> None:
    config = FramesConfig(mode="exact", num_bins=3, resize="sum", size=size, dtype="uint16")
    frames = make_frames(as_events(events), config, SENSOR)
    expected, _ = count(events, "exact", 3, None, bounding_box(events), (size, size))
    np.testing.assert_array_equal(frames.data, expected)
    assert frames.data.sum() == len(events)


@unhurried
@given(event_lists(times=("usual",)), event_lists(times=("usual",)))
def test_frames_of_a_concatenation_are_the_sum_of_frames(first: list[Event], second: list[Event]) -> None:
    start, end = (0, 0, 0, 0), (8, 6, 300_000, 1)  # the same first and last event everywhere: the same edges
    config = FramesConfig(crop=False, resize="none", dtype="uint16")

    def frames(events: list[Event]) -> np.ndarray:
        return make_frames(as_events([start, *events, end]), config, SENSOR).data.astype(int)

    both = sorted(first + second, key=lambda event: event[2])
    np.testing.assert_array_equal(frames(both), frames(first) + frames(second) - frames([]))


@unhurried
@given(event_lists(times=("usual",), sensor_size=(23, 17)), st.integers(1, 30))
@example([(x, y, x, 1) for x in range(23) for y in range(17)], 6)
def test_bilinear_is_torchs(events: list[Event], size: int) -> None:
    config = FramesConfig(num_bins=2, size=size, dtype="float32", mode="exact")
    found = make_frames(as_events(events), config, (23, 17)).data
    box = bounding_box(events)
    counts, _ = count(events, "exact", 2, None, box, (box[3], box[2]))
    expected = torch.nn.functional.interpolate(
        torch.tensor(counts, dtype=torch.float32), size=[size, size], mode="bilinear", align_corners=True
    ).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, counts.max()))
    np.testing.assert_allclose(found[0, 1], bilinear(counts[0, 1], size), rtol=0, atol=1e-4 * max(1, counts.max()))


@pytest.mark.parametrize("extent", [(1, 1), (1, 180), (47, 48), (95, 94), (96, 180), (238, 179), (240, 180)])
@pytest.mark.parametrize("size", [1, 28, 48])
def test_bilinear_is_torchs_on_every_kind_of_extent(extent: tuple[int, int], size: int) -> None:
    width, height = extent
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, width, 20_000), rng.integers(0, height, 20_000)
    x[:2], y[:2] = (0, width - 1), (0, height - 1)
    events = Events(x.astype(np.uint16), y.astype(np.uint16), np.zeros(20_000, np.int64), (x % 2).astype(np.uint8))
    config = FramesConfig(mode="exact", num_bins=1, size=size, dtype="float32")
    counts = make_frames(events, config.model_copy(update={"resize": "none", "size": 0}), extent).data
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(counts), size=[size, size], mode="bilinear", align_corners=True
    ).numpy()
    found = make_frames(events, config, extent).data
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * counts.max())


def test_real_recordings_give_tonics_frames(nmnist_files: list[Path]) -> None:
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for file in nmnist_files:
        events = read_mnist_file(file, dtype=dtype)
        recording = AtisRecords(np.fromfile(file, np.uint8), (34, 34))
        whole = make_frames(recording, FramesConfig(crop=False, resize="none", dtype="uint16"))
        np.testing.assert_array_equal(whole.data, ToFrame(sensor_size=(34, 34, 2), n_time_bins=10)(events))
        assert whole.num_events == len(events)
        events["x"] -= events["x"].min()
        events["y"] -= events["y"].min()
        counts = torch.tensor(ToFrame(sensor_size=None, n_time_bins=10)(events), dtype=torch.float32)
        expected = torch.nn.functional.interpolate(counts, size=[48, 48], mode="bilinear", align_corners=True).numpy()
        small = make_frames(recording, FramesConfig(dtype="float32"))
        np.testing.assert_allclose(small.data, expected, rtol=0, atol=1e-6 * expected.max())


def test_a_missing_polarity_leaves_its_channel_empty() -> None:
    for polarity in (0, 1):
        data = make_frames(as_events([(0, 0, t, polarity) for t in range(20)]), COUNTS, SENSOR).data
        assert data.shape[1] == 2
        assert data[:, polarity].sum() == 10
        assert data[:, 1 - polarity].sum() == 0


@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 255), ("uint16", 65535), ("float16", 65504)])
def test_counts_saturate_and_say_so(dtype: str, largest: int) -> None:
    n = 140_000  # half of them in one pixel of one bin: more than any of these types holds
    x = (np.arange(n) % 2).astype(np.uint16)
    events = Events(x, np.zeros(n, np.uint16), np.zeros(n, np.int64), np.ones(n, np.uint8))
    config = FramesConfig(mode="exact", num_bins=1, resize="none", dtype=dtype)
    frames = make_frames(events, config, (2, 1))
    assert frames.data.dtype == dtype
    np.testing.assert_array_equal(frames.data, [[[[0, 0]], [[largest, largest]]]])
    assert frames.num_saturated == 2
    assert make_frames(events, config.model_copy(update={"dtype": "float32"}), (2, 1)).num_saturated == 0


def test_float16_is_exact_up_to_2048_and_within_2_to_the_minus_11_above() -> None:
    for n in (2048, 2049, 60_001):
        events = Events(np.zeros(n, np.uint16), np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros(n, np.uint8))
        value = float(
            make_frames(events, FramesConfig(mode="exact", num_bins=1, resize="none"), (1, 1)).data[0, 0, 0, 0]
        )
        assert abs(value - n) <= (0 if n <= 2048 else n * 2**-11)


@unhurried
@given(st.binary(max_size=120), st.sampled_from([(34, 34), (240, 180), (256, 256)]), st.sampled_from(MODES))
@example(bytes([7, 240, 0, 0, 0]) * 3, (240, 180), "time")
@example(bytes([0, 241, 0, 0, 0, 0, 239, 0, 0, 9, 7, 240, 1, 1, 1, 0, 3, 0, 0, 9]), (256, 256), "count")
def test_any_bytes_give_frames_or_a_source_error(data: bytes, sensor_size: tuple[int, int], mode: str) -> None:
    recording = AtisRecords(np.frombuffer(data, np.uint8), sensor_size)
    config = with_mode(mode, 3, 500, resize="sum", size=6, dtype="uint16")
    try:
        frames = make_frames(recording, config)
    except SourceError:
        return
    events = decode_records(data)
    expected, num_dropped = count(events, mode, 3, 500, bounding_box(events), (6, 6))
    np.testing.assert_array_equal(frames.data, expected)
    assert frames.num_dropped == num_dropped


GOOD = bytes([1, 2, 0, 0, 5]) * 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a\.bin: 0 records and no event"),
        (bytes([7, 240, 0, 0, 0]) * 2, r"2 records and no event"),
        (GOOD + b"\x01", r"a\.bin: 16 bytes .*1 left over at byte 15"),
        (GOOD + bytes([9, 2, 0, 0, 6]), r"record 3 \(byte offset 15\) lies at x=9, y=2, outside the sensor's 9 x 7"),
        (GOOD + bytes([7, 240, 0, 0, 0, 1, 7, 0, 0, 6]), r"record 4 \(byte offset 20\) lies at x=1, y=7"),
        (GOOD + bytes([1, 2, 128, 0, 4]), r"backwards at record 3 \(byte offset 15\): 4 us"),
        (GOOD * 200 + bytes([1, 2, 0, 0, 4]) + GOOD, r"backwards at record 600"),
        (
            bytes([1, 2, 0, 48, 0, 0, 240, 0, 0, 0, 1, 2, 0, 15, 0]),
            r"backwards at record 2 \(byte offset 10\): 12032 us",
        ),
    ],
)
def test_broken_records_are_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        make_frames(AtisRecords(np.frombuffer(data, np.uint8), SENSOR), COUNTS, location="a.bin")


def test_a_file_cut_anywhere_is_refused_or_shorter(nmnist_files: list[Path]) -> None:
    data = np.fromfile(nmnist_files[0], np.uint8)[:200]
    for length in range(len(data)):
        recording = AtisRecords(data[:length], (34, 34))
        if length % 5 or not length:
            with pytest.raises(SourceError):
                make_frames(recording, COUNTS)
        else:
            assert make_frames(recording, COUNTS).num_events == length // 5


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("x", [0, 9, 0], "event 1 has x=9, expected a whole number from 0 to 8"),
        ("y", [0, 0, 7], "event 2 has y=7, expected a whole number from 0 to 6"),
        ("x", [0, -1, 0], "event 1 has x=-1"),
        ("p", [0, 2, 0], "event 1 has p=2, expected a whole number from -1 to 1"),
        ("t", [3, 5, 4], "backwards at event 2: 4 us after 5 us"),
        ("t", [0, 1], r"expected \(2,\) numbers"),
        ("t", [0.0, 0.5, 2.0], "event 1 has t=0.5, expected a whole number"),
        ("x", [[0], [0], [0]], r"x is \(3, 1\)"),
    ],
)
def test_broken_events_are_refused_with_the_place(column: str, values: list[int], message: str) -> None:
    columns = {name: np.zeros(3, np.int64) for name in "xytp"} | {column: np.array(values)}
    with pytest.raises(SourceError, match=rf"a\.mat: .*{message}"):
        make_frames(Events(**columns), COUNTS, SENSOR, "a.mat")


def test_no_events_and_no_sensor_size() -> None:
    nothing = np.zeros(0, np.int64)
    with pytest.raises(SourceError, match="no event"):
        make_frames(Events(nothing, nothing, nothing, nothing), COUNTS, SENSOR)
    for unknown in (COUNTS, FramesConfig(crop=False)):
        with pytest.raises(SourceError, match=r"a\.csv: does not say how large its sensor is.*--sensor-size"):
            make_frames(as_events([(0, 0, 0, 0)]), unknown, location="a.csv")


def test_the_sensor_size_is_the_recording_s_or_the_configuration_s() -> None:
    """`extent` is the whole sensor without `crop`."""
    said, unsaid = replace(as_events([(3, 2, 0, 0)]), sensor_size=(8, 6)), as_events([(3, 2, 0, 0)])
    whole = FramesConfig(crop=False)
    assert make_frames(said, whole, (20, 20)).extent == (8, 6)
    assert make_frames(unsaid, whole, (20, 20)).extent == (20, 20)
    assert make_frames(unsaid, whole.model_copy(update={"sensor_size": (9, 7)}), (20, 20)).extent == (9, 7)
    assert make_frames(unsaid, FramesConfig()).extent == (1, 1)
    with pytest.raises(SourceError, match="x=1280, expected a whole number from 0 to 1279"):
        make_frames(as_events([(1280, 2, 0, 0)]), FramesConfig())
    with pytest.raises(SourceError, match=r"its sensor has 8 x 6 pixels, sensor_size is 9 x 7"):
        make_frames(said, whole.model_copy(update={"sensor_size": (9, 7)}))
    assert make_frames(said, FramesConfig(sensor_size=(9, 7))).extent == (1, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint16"])
@pytest.mark.parametrize("num_at_once", [65_504, 65_505, 70_000])
def test_counts_beyond_the_narrow_type(num_at_once: int, dtype: str) -> None:
    """The largest float16 is 65504: one event more in a bin, and counts are wide."""
    x, y = np.zeros(num_at_once + 1, np.uint16), np.zeros(num_at_once + 1, np.uint16)
    x[-1], y[-1] = 8, 6
    events = Events(x, y, np.arange(num_at_once + 1), np.ones(num_at_once + 1, np.uint8))
    for resize in ("none", "sum", "bilinear"):
        if resize != "bilinear" or dtype.startswith("float"):
            config = FramesConfig(
                mode="exact", num_bins=1, resize=resize, size=0 if resize == "none" else 5, dtype=dtype
            )
            frames = make_frames(events, config, SENSOR)
            most = {"float16": 65_504, "uint16": 65_535}.get(dtype, num_at_once)
            assert frames.data.flags.c_contiguous
            assert frames.data[0, 1, 0, 0] == min(num_at_once, most)
            assert frames.num_saturated == (num_at_once > most)
            assert frames.num_in_frames == num_at_once + 1
