"""The compiled pixel model against a plain one, and against what a pixel must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dvs_transfer.stages.simulation.kernel import TIME_SHIFT, X_SHIFT, Y_SHIFT, draw_normal, fire, sort_by_time, unpack

MARGIN = 2
TIMES = np.array([0.0, 1000.0, 2000.0, 3000.0])
X_PX = np.array([0.0, 0.75, 1.5, 0.25])
Y_PX = np.array([0.0, 1.0, 0.5, 2.0])


def naive_fire(log_image: NDArray[np.float32], on: float, off: float, refractory_us: int) -> list[tuple[int, ...]]:
    """(t, y, x, p) of each event, pixel by pixel, without background activity; in double precision."""
    height, width = log_image.shape[0] - MARGIN - 1, log_image.shape[1] - MARGIN - 1
    events = []
    for y in range(height):
        for x in range(width):
            values = [sample(log_image, y + MARGIN - dy, x + MARGIN - dx) for dx, dy in zip(X_PX, Y_PX, strict=True)]
            reference, last_us = values[0], -math.inf
            for step in range(3):
                before, now = values[step], values[step + 1]
                while now - reference >= on or reference - now >= off:
                    polarity = int(now > reference)
                    reference += on if polarity else -off
                    time_us = int(TIMES[step] + (reference - before) / (now - before) * 1000.0)
                    if time_us - last_us >= refractory_us:
                        events.append((time_us, y, x, polarity))
                        last_us = time_us
    return events


def sample(image: NDArray[np.float32], y: float, x: float) -> float:
    row, column = math.floor(y), math.floor(x)
    fy, fx = y - row, x - column
    total = 0.0
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            if wy * wx:
                total += wy * wx * float(image[row + dy, column + dx])
    return total


def fire_all(
    log_image: NDArray[np.float32],
    on: float = 0.25,
    off: float = 0.25,
    refractory_us: int = 0,
    noise_gap: float = math.inf,
    seed: int = 1,
    start_spread: float = 0.0,
    room: int = 100_000,
) -> tuple[int, NDArray[np.int64]]:
    shape = (log_image.shape[0], log_image.shape[1])
    out = np.empty(room, np.int64)
    thresholds = np.full(shape, on, np.float32), np.full(shape, off, np.float32)
    total = fire(
        log_image, MARGIN, TIMES, X_PX, Y_PX, *thresholds, refractory_us, start_spread, noise_gap, np.uint64(seed), out
    )  # fmt: skip
    return total, out[: min(total, room)]


def unpacked(packed: NDArray[np.int64]) -> list[tuple[int, ...]]:
    x, y, t, p = unpack(packed)
    return list(zip(t.tolist(), y.tolist(), x.tolist(), p.tolist(), strict=True))


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 20), refractory_us=st.sampled_from([0, 40, 500]))
def test_fire_does_what_the_plain_model_does(seed: int, width: int, refractory_us: int) -> None:
    # Values on a grid of 1/64 with thresholds off it: both models compute the same sums without rounding.
    grid = np.random.default_rng(seed).integers(0, 128, size=(3 + 2 * MARGIN + 1, width + 2 * MARGIN + 1))
    log_image = (grid / 64).astype(np.float32)
    on, off = 33 / 256, 49 / 256
    _, packed = fire_all(log_image, on, off, refractory_us)
    got = sorted(unpacked(packed), key=lambda event: (event[1], event[2], event[0]))
    expected = sorted(naive_fire(log_image, on, off, refractory_us), key=lambda event: (event[1], event[2], event[0]))
    assert [event[1:] for event in got] == [event[1:] for event in expected]
    assert [event[0] for event in got] == pytest.approx([event[0] for event in expected], abs=1)


def test_too_little_room_is_reported_and_nothing_is_written_beyond() -> None:
    log_image = np.random.default_rng(0).random((12, 15)).astype(np.float32) * 3
    total, everything = fire_all(log_image, noise_gap=50.0)
    again, beginning = fire_all(log_image, noise_gap=50.0, room=7)
    assert total == again > 7
    np.testing.assert_array_equal(beginning, everything[:7])


def test_background_activity_has_its_rate_and_both_polarities() -> None:
    flat = np.zeros((200, 240), np.float32)
    gap = 40.0
    total, packed = fire_all(flat, noise_gap=gap)
    pixel_steps = (200 - MARGIN - 1) * (240 - MARGIN - 1) * 3
    assert total == pytest.approx(pixel_steps / gap, abs=5 * math.sqrt(pixel_steps / gap))
    events = np.array(unpacked(packed))
    assert 0.45 < events[:, 3].mean() < 0.55
    for column, size in ((1, 197), (2, 237), (0, 3000)):
        counts = np.histogram(events[:, column], bins=8, range=(0, size))[0]
        assert counts.min() > 0.8 * counts.mean()
    assert fire_all(flat)[0] == 0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**63), on=st.floats(0.05, 2), off=st.floats(0.05, 2))
def test_nothing_fires_without_motion_wherever_pixels_start(seed: int, on: float, off: float) -> None:
    flat = np.full((40, 60), 0.7, np.float32)
    assert fire_all(flat, on, off, seed=seed, start_spread=1.0)[0] == 0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**63))
def test_a_pixel_stays_silent_while_refractory(seed: int) -> None:
    log_image = np.random.default_rng(seed).random((12, 15)).astype(np.float32) * 3
    _, packed = fire_all(log_image, refractory_us=300, noise_gap=4.0, seed=seed)
    by_pixel: dict[tuple[int, int], list[int]] = {}
    for time_us, y, x, _ in unpacked(packed):
        by_pixel.setdefault((y, x), []).append(time_us)
    gaps = [gap for times in by_pixel.values() for gap in np.diff(sorted(times))]
    assert min(gaps) >= 300


@settings(deadline=None)
@given(st.lists(st.integers(0, 300_000) | st.integers(0, 3_000_000), max_size=200))
def test_sorting_is_by_time_and_stable(times: list[int]) -> None:
    number = np.arange(len(times), dtype=np.int64)
    packed = (np.array(times, np.int64) << TIME_SHIFT) | number
    expected = packed[np.argsort(packed >> TIME_SHIFT, kind="stable")]
    np.testing.assert_array_equal(sort_by_time(packed), expected)


def test_words_hold_the_largest_event() -> None:
    word = np.array([(3_000_000 << TIME_SHIFT) | (239 << Y_SHIFT) | (255 << X_SHIFT) | 1], np.int64)
    assert unpacked(word) == [(3_000_000, 239, 255, 1)]


def test_normal_numbers_are_normal_and_independent_of_the_length() -> None:
    many, few = np.empty(100_000), np.empty(10)
    draw_normal(np.uint64(7), many)
    draw_normal(np.uint64(7), few)
    np.testing.assert_array_equal(many[:10], few)
    assert abs(many.mean()) < 0.02
    assert many.std() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(many) > 1.96) == pytest.approx(0.05, abs=0.005)
    assert abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.02
