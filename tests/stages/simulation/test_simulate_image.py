"""One image, one recording."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dvs_transfer.stages.simulation import CAMERAS, SimulationConfig, simulate_image

CALM = SimulationConfig(threshold_sigma=0, noise_rate_hz=0, refractory_us=0, start_spread=0)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (34, 34), (2, 900), (900, 2), (300, 200), (600, 800)])
def test_images_of_any_size_stay_within_the_sensor(shape: tuple[int, int]) -> None:
    events = simulate_image(texture(*shape), SimulationConfig(), "a/b")
    assert len(events) > 0
    assert events.x.max() < 240
    assert events.y.max() < 180
    assert events.t[0] >= 0
    assert events.t[-1] <= 300_000
    assert (np.diff(events.t) >= 0).all()
    assert set(events.p.tolist()) == {0, 1}


def test_small_sensor_like_n_mnist() -> None:
    busy = CAMERAS["nmnist"].model_copy(update={"noise_rate_hz": 50})
    events = simulate_image(texture(28, 28), busy, "5/00001")
    assert (events.x.max(), events.y.max()) == (33, 33)


def test_the_same_name_and_seed_give_the_same_events_and_others_do_not() -> None:
    image = texture(60, 80)

    def times(seed: int, key: str) -> list[int]:
        return simulate_image(image, SimulationConfig(seed=seed), key).t.tolist()

    assert times(0, "ant/image_0001") == times(0, "ant/image_0001")
    assert times(0, "ant/image_0001") != times(0, "ant/image_0002")
    assert times(0, "ant/image_0001") != times(1, "ant/image_0001")


def test_a_flat_image_fires_nothing_without_background_activity() -> None:
    assert len(simulate_image(np.full((50, 50), 128, np.uint8), CALM, "a/b")) == 0


def test_thresholds_of_the_two_polarities_are_separate() -> None:
    on_only = simulate_image(texture(40, 40), CALM.model_copy(update={"off_threshold": 2.0}), "a/b")
    both = simulate_image(texture(40, 40), CALM, "a/b")
    assert (on_only.p == 0).sum() < 0.3 * (both.p == 0).sum()
    assert (on_only.p == 1).sum() > 0


def test_grey_and_colour_of_the_same_grey_are_the_same() -> None:
    grey = texture(40, 50)
    a = simulate_image(grey, SimulationConfig(), "a/b")
    b = simulate_image(np.repeat(grey[:, :, None], 3, axis=2), SimulationConfig(), "a/b")
    np.testing.assert_array_equal(a.t, b.t)
    np.testing.assert_array_equal(a.x, b.x)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        simulate_image(image, SimulationConfig(), "a/b")


def test_hot_pixels_fire_whatever_they_see() -> None:
    """The same ones in every recording, at their rate between refractory times; all other pixels are as they were."""
    camera = SimulationConfig(noise_rate_hz=0, refractory_us=1500)
    hot = camera.model_copy(update={"hot_pixels": 40, "hot_pixel_rate_hz": 300.0})
    flat, seen = np.full((180, 240), 128, np.uint8), texture(180, 240)
    alone = simulate_image(flat, hot, "a/b")
    places = {*zip(alone.x.tolist(), alone.y.tolist(), strict=True)}
    assert 36 <= len(places) <= 40  # the others lie in the margin that no photo of this shape is recorded in
    assert (np.diff(alone.t) >= 0).all()
    # 300 ms of 1/300 s and 1.5 ms of waiting for each event, 62 of them.
    assert abs(len(alone) / len(places) - 0.3 / (1 / 300 + 1.5e-3)) < 3
    assert abs(alone.p.mean() - 0.5) < 0.05
    gaps = [np.diff(alone.t[(alone.x == x) & (alone.y == y)]) for x, y in places]
    assert min(gap.min() for gap in gaps) >= 1500
    assert np.median(np.concatenate(gaps)) == pytest.approx(1500 + math.log(2) * 1e6 / 300, rel=0.1)
    other = simulate_image(flat, hot, "a/c")
    assert {*zip(other.x.tolist(), other.y.tolist(), strict=True)} == places
    assert other.t.tolist() != alone.t.tolist()

    with_hot, without = simulate_image(seen, hot, "a/b"), simulate_image(seen, camera, "a/b")
    events = [np.stack([e.t, e.x, e.y, e.p], 1) for e in (with_hot, without, alone)]
    is_hot = [np.array([(x, y) in places for _, x, y, _ in found.tolist()]) for found in events]
    assert events[0][is_hot[0]].tolist() == events[2].tolist()
    assert np.array_equal(events[0][~is_hot[0]], events[1][~is_hot[1]])
    assert is_hot[1].any()


def test_hot_pixels_that_were_not_asked_for_leave_documents_as_they_were() -> None:
    assert "hot_pixels" not in SimulationConfig().model_dump_json()
    assert "hot_pixels" in SimulationConfig(hot_pixels=1).model_dump_json()
