"""Strokes become dots: where they lie, when, and that no drawing has too many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.strokes import NUM_DOTS, encode_strokes


def dots_of(*strokes: list[tuple[float, float, float]]) -> np.ndarray:
    encoded = encode_strokes(tuple(np.array(stroke) for stroke in strokes), "drawing")
    assert encoded.shape == (NUM_DOTS, 4)
    used = np.isfinite(encoded[:, 2])
    assert used[: used.sum()].all()
    assert np.isinf(encoded[~used, 2:]).all()
    return encoded[used].astype(np.float64)


def test_dots_are_equally_far_apart_and_have_the_pens_times():
    """Two strokes: 0.4 to the right in 1 s, a pause of 2 s, 0.2 down in 1 s."""
    dots = dots_of([(0.2, 0.3, 500), (0.3, 0.3, 750), (0.6, 0.3, 1500)], [(0.5, 0.5, 3500), (0.5, 0.7, 4500)])
    breaks = np.flatnonzero(dots[:, 1] >= 0.5)[0]
    first, second = dots[:breaks], dots[breaks:]
    assert (len(first), len(second)) == (84, 43)  # twice as long; 124 intervals in all, both ends of each
    for stroke in (first, second):
        gaps = np.hypot(*np.diff(stroke[:, :2], axis=0).T)
        np.testing.assert_allclose(gaps, gaps[0], rtol=1e-4)
    np.testing.assert_allclose(first[1:, 2], (first[1:, 0] - 0.2) / 0.4 * 0.25, atol=1e-6)  # 1 of 4 s
    np.testing.assert_allclose(second[:, 2], 0.75 + (second[:, 1] - 0.5) / 0.2 * 0.25, atol=1e-6)
    np.testing.assert_array_equal(first[:-1, 3], first[1:, 2])  # the pen is there until it comes to the next one
    np.testing.assert_allclose((first[-1, 3], second[-1, 3]), (0.25, 1))
    assert 0 < dots[0, 2] < 1e-5  # at the beginning nothing is drawn


def test_a_dot_is_a_stroke_and_a_resting_pen_stays():
    dots = dots_of([(0.2, 0.3, 0)], [(0.4, 0.4, 100), (0.4, 0.4, 900), (0.4, 0.5, 1000)])
    assert dots[0, :2] == pytest.approx((0.2, 0.3))
    assert (dots[1:, 2] >= 0.1 - 1e-6).all()
    assert dots[1, 2:] == pytest.approx((0.1, 0.1 + 0.9 / (len(dots) - 2)), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, NUM_DOTS // 2 - 1))
def test_any_drawing_fits(seed: int, num_strokes: int):
    rng = np.random.default_rng(seed)
    time, strokes = 0.0, []
    for _ in range(num_strokes):
        steps = rng.normal(0, 0.05, (rng.integers(1, 9), 2)) * rng.integers(0, 2)
        times = time + np.cumsum(rng.integers(0, 30, len(steps)))
        time = float(times[-1]) + 1
        strokes.append(np.column_stack([0.5 + np.cumsum(steps, 0), times]))
    strokes.append(np.array([[0.5, 0.5, time + 1]])) if num_strokes < NUM_DOTS // 2 - 1 else None
    points = np.concatenate(strokes)
    if points[-1, 2] == points[0, 2]:
        return
    dots = dots_of(*strokes)
    assert (np.diff(dots[:, 2]) >= 0).all()
    assert (np.diff(dots[:, 3]) >= 0).all()
    assert (dots[:, 3] >= dots[:, 2]).all()
    assert dots[-1, 3] == 1
    for stroke in strokes:  # both ends of each
        for end in (stroke[0], stroke[-1]):
            assert np.hypot(*(dots[:, :2] - end[:2]).T).min() < 1e-6


def test_what_has_no_course_in_time_is_refused():
    with pytest.raises(SourceError, match="drawing: all points have the same time"):
        dots_of([(0.2, 0.3, 5), (0.3, 0.3, 5)])
    with pytest.raises(SourceError, match=f"{NUM_DOTS // 2} strokes; the limit is {NUM_DOTS // 2 - 1}"):
        dots_of(*[[(0.2, 0.3, i)] for i in range(NUM_DOTS // 2)])
