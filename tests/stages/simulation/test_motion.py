"""The path of the image and the size at which it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dvs_transfer.stages.simulation.config import SimulationConfig
from dvs_transfer.stages.simulation.motion import motion_margin, saccade_path, shown_box, shown_size


@given(amplitude=st.floats(0.1, 60), step=st.floats(0.05, 1), saccade=st.integers(1_000, 1_000_000))
def test_path_is_a_closed_triangle_in_small_steps(amplitude: float, step: float, saccade: int) -> None:
    config = SimulationConfig(amplitude_px=amplitude, max_step_px=step, saccade_us=saccade)
    times, x, y = saccade_path(config)
    assert times[0] == 0
    assert times[-1] == 3 * saccade
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0])
    assert (x[0], y[0]) == (0, 0)
    np.testing.assert_allclose((x[-1], y[-1]), (0, 0), atol=1e-9)
    np.testing.assert_allclose((x.max(), y.max()), (amplitude, amplitude))
    assert min(x.min(), y.min()) >= 0
    assert np.hypot(np.diff(x), np.diff(y)).max() <= step * (1 + 1e-9)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_image_is_shown_as_large_as_fits(width: int, height: int) -> None:
    config = SimulationConfig()
    shown_width, shown_height = shown_size(width, height, config)
    margin = motion_margin(config)
    assert 1 <= shown_width <= 240 - margin
    assert 1 <= shown_height <= 180 - margin
    assert shown_width == 240 - margin or shown_height == 180 - margin
    if min(shown_width, shown_height) > 20:
        assert shown_width / shown_height == pytest.approx(width / height, rel=0.05)
    x_min, y_min, x_max, y_max = shown_box(width, height, config)
    assert 0 <= x_min <= x_max < 240
    assert 0 <= y_min <= y_max < 180
    assert (x_max - x_min + 1, y_max - y_min + 1) == (shown_width, shown_height)


def test_motion_must_leave_room_for_the_image() -> None:
    with pytest.raises(ValidationError, match="amplitude_px"):
        SimulationConfig(sensor_width=34, sensor_height=34, amplitude_px=34)
