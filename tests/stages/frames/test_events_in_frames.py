"""How many events the frames show: against the definition, against what torch reads, and of a sensor too large."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recordings import as_events, as_records, event_lists

from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.resize import plan_columns, plan_rows
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import Events

from naive import Event, bounding_box, num_in_frames, pixels_read

SENSOR = (23, 17)


@settings(deadline=None)  # the first call compiles
@given(
    event_lists(times=("short", "usual", "records"), sensor_size=SENSOR),
    st.sampled_from(["time", "count", "window", "exact"]),
    st.sampled_from(["bilinear", "sum", "none"]),
    st.booleans(),
    st.integers(1, 12),
    st.integers(1, 8),
)
@example([(x, y, 17 * x + y, y % 2) for x in range(23) for y in range(17)], "exact", "bilinear", True, 2, 4)
@example([(0, 0, 0, 1), (1, 1, 2**23 + 5, 1), (2, 2, 2**23 + 9000, 0)], "time", "bilinear", True, 2, 2)
def test_the_number_is_that_of_the_definition(
    events: list[Event], mode: str, resize: str, crop: bool, num_bins: int, size: int
) -> None:
    """Held as events and as raw records, with overflow markers among them."""
    window_us = 3_000 if mode == "window" else None
    size = 0 if resize == "none" else size
    config = FramesConfig(
        mode=mode, num_bins=num_bins, window_us=window_us, resize=resize, size=size, crop=crop, dtype="float32"
    )
    box = bounding_box(events) if crop else (0, 0, *SENSOR)
    expected = num_in_frames(events, mode, num_bins, window_us, box, size if resize == "bilinear" else None)
    for recording in (as_events(events), as_records(events, SENSOR)):
        frames = make_frames(recording, config, SENSOR)
        assert frames.num_in_frames == expected
        assert frames.num_in_frames <= frames.num_events - frames.num_dropped
        if resize != "bilinear":
            assert frames.num_in_frames == frames.num_events - frames.num_dropped
        assert (frames.num_in_frames == 0) == (not frames.data.any())


@pytest.mark.parametrize("size", [1, 2, 3, 28, 48])
def test_the_pixels_are_those_that_torch_reads(size: int) -> None:
    """Row i of the identity is an event at pixel i alone: what of it is left, torch has read."""
    for length in (1, 2, 3, 47, 48, 49, 95, 96, 97, 180, 240, 304, 720, 1280):
        impulses = torch.eye(length)[:, None, None, :]
        left = torch.nn.functional.interpolate(impulses, size=[1, size], mode="bilinear", align_corners=True)
        read = set(torch.nonzero(left.sum(dim=(1, 2, 3)) > 0)[:, 0].tolist())
        assert pixels_read(length, size) == read
        for plan in (plan_rows, plan_columns):
            axis = plan(0, length, length, "bilinear", size)
            assert {pixel for pixel in range(length) if axis.table[0, pixel] < axis.length} == read


def test_a_large_sensor_loses_almost_all_events_without_a_word_of_bilinear() -> None:
    """48 x 48 frames of 1280 x 720 pixels: (96 / 1280) (96 / 720) = 1 % at most; `sum` keeps every event."""
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, side, 200_000).astype(np.uint16) for side in (1280, 720))
    events = Events(x, y, np.arange(200_000), (x % 2).astype(np.uint8), (1280, 720))
    shares = {
        resize: make_frames(events, FramesConfig(mode="exact", resize=resize, crop=False)).num_in_frames / 200_000
        for resize in ("bilinear", "sum")
    }
    assert shares["bilinear"] == pytest.approx(94 / 1280 * 94 / 720, rel=0.1)
    assert shares["sum"] == 1
