"""The path of the image, and where it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dvs_transfer.stages.simulation.config import CAMERAS, SimulationConfig
from dvs_transfer.stages.simulation.sensor import motion_margin, saccade_path, shown


@given(amplitude=st.floats(0.1, 60), step=st.floats(0.05, 1), saccade=st.integers(1_000, 1_000_000))
def test_path_covers_its_amplitude_in_small_steps(amplitude: float, step: float, saccade: int) -> None:
    config = SimulationConfig(amplitude_px=amplitude, max_step_px=step, saccade_us=saccade)
    times, x, y = saccade_path(config)
    assert times[0] == 0
    assert times[-1] == pytest.approx(3 * saccade)
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0])
    assert (x[0], y[0]) == (0, 0)
    assert min(x.min(), y.min()) >= 0
    assert max(x.max(), y.max()) <= amplitude
    assert np.hypot(np.diff(x), np.diff(y)).max() <= step * (1 + 1e-4)  # the speed is taken from differences


def test_path_goes_down_then_up_and_to_the_right_then_back() -> None:
    """As N-MNIST's digits do: in the first saccade down, right only when it is nearly down; see docs/simulator.md."""
    config = SimulationConfig(max_step_px=0.05)
    times, x, y = saccade_path(config)

    def at(ms: float) -> tuple[float, float]:
        place = np.interp(ms * 1000, times, x), np.interp(ms * 1000, times, y)
        return float(place[0] / config.amplitude_px), float(place[1] / config.amplitude_px)

    assert at(40)[0] == pytest.approx(0, abs=0.01)
    assert at(40)[1] > 0.3
    assert at(100) == pytest.approx((0.3, 1.0), abs=0.05)
    assert at(215) == pytest.approx((1.0, 0.0), abs=0.01)
    assert at(255)[0] == pytest.approx(0.6, abs=0.05)
    assert at(300) == pytest.approx((0.16, 0.0), abs=0.01)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_a_fitted_image_is_as_large_as_the_field_and_fills_what_is_recorded(width: int, height: int) -> None:
    config = SimulationConfig()
    place, margin = shown(width, height, config), motion_margin(config)
    assert 1 <= place.size[0] <= 240
    assert 1 <= place.size[1] <= 180
    assert place.size[0] == 240 or place.size[1] == 180
    if min(place.size) > 20:
        assert place.size[0] / place.size[1] == pytest.approx(width / height, rel=0.05)
        for size, field, corner in zip(place.size, place.field, place.corner, strict=True):
            assert corner <= -config.amplitude_px  # all that moves in at the left, or at the top, is the image
            assert corner + size >= field
    assert place.field == (max(1, place.size[0] - margin), max(1, place.size[1] - margin))
    x_min, y_min, x_max, y_max = place.box(config.amplitude_px)
    assert 0 <= x_min <= x_max < place.field[0]
    assert 0 <= y_min <= y_max < place.field[1]


def test_a_photo_is_recorded_in_n_caltech101s_size() -> None:
    """The real recording of this photo of 290 x 334 pixels has 151 x 173."""
    place = shown(290, 334, SimulationConfig())
    assert place.size == (156, 180)
    np.testing.assert_allclose(place.field, (151, 173), atol=1)


def test_a_padded_digit_keeps_its_size_in_the_middle_of_the_field() -> None:
    config = CAMERAS["nmnist"]
    place = shown(28, 28, config)
    assert (place.size, place.field) == ((28, 28), (34, 34))
    middle = place.corner[0] + 27 / 2 + config.amplitude_px / 2
    assert middle == pytest.approx(33 / 2, abs=1)
    assert shown(280, 140, config).size == (28, 14)


def test_motion_must_leave_room_for_the_image() -> None:
    with pytest.raises(ValidationError, match="amplitude_px"):
        SimulationConfig(sensor_width=34, sensor_height=34, amplitude_px=34)
