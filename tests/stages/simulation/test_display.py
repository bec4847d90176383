"""What the display shows: black level, gamma, blur, what lies beside an image; and that events follow from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs_transfer.stages.simulation import CAMERAS, SimulationConfig, simulate_image
from dvs_transfer.stages.simulation.sensor import log_luminance, motion_margin, shown
from dvs_transfer.stages.sources.atis import decode_records
from dvs_transfer.stages.sources.base import AtisRecords, Events, Sample
from dvs_transfer.stages.sources.digits import Mnist, NMnist

SHARP = SimulationConfig(blur_px=0)
CALM = SHARP.model_copy(update={"threshold_sigma": 0, "noise_rate_hz": 0, "refractory_us": 0, "start_spread": 0})


@given(grey=st.integers(0, 255), black=st.floats(0.001, 0.5), gamma=st.floats(0.5, 3), inverted=st.booleans())
def test_luminance_is_the_formulas(grey: int, black: float, gamma: float, inverted: bool) -> None:
    config = SHARP.model_copy(update={"black_level": black, "gamma": gamma, "inverted": inverted})
    value = (255 - grey if inverted else grey) / 255
    expected = math.log(black + (1 - black) * value**gamma)
    image = np.full((180, 240), grey, np.uint8)
    np.testing.assert_allclose(log_luminance(image, config), expected, atol=1e-5)


@pytest.mark.parametrize("black", [0.003, 0.03, 0.3])
def test_an_edge_from_black_to_white_gives_as_many_events_as_the_black_level_says(black: float) -> None:
    """A pixel that the edge passes fires once for each threshold in log(white / black), and again on the way back."""
    image = np.zeros((180, 240), np.uint8)
    image[:, 100:] = 255
    events = simulate_image(image, CALM.model_copy(update={"black_level": black}), "a/b")
    by_pixel = np.bincount(events.x[events.p == 0], minlength=240) / (events.y.max() + 1)
    assert by_pixel.max() == math.floor(math.log(1 / black) / CALM.off_threshold)


def test_blur_softens_an_edge_and_leaves_the_mean() -> None:
    image = np.zeros((180, 240), np.uint8)
    image[:, 100:] = 255
    sharp, soft = (np.exp(log_luminance(image, SHARP.model_copy(update={"blur_px": blur}))) for blur in (0, 1))
    assert np.abs(np.diff(soft, axis=1)).max() < 0.5 * np.abs(np.diff(sharp, axis=1)).max()
    assert soft.mean() == pytest.approx(sharp.mean(), rel=1e-3)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_padded_digit_lies_pixel_for_pixel_amid_grey_0(inverted: bool) -> None:
    config = CAMERAS["nmnist"].model_copy(update={"blur_px": 0, "inverted": inverted})
    digit = np.random.default_rng(0).integers(1, 256, (28, 28), dtype=np.uint8)
    seen, margin = log_luminance(digit, config), motion_margin(config)
    assert seen.shape == (34 + margin + 1, 34 + margin + 1)
    left, top = (corner + margin for corner in shown(28, 28, config).corner)
    value = (255 - digit if inverted else digit) / 255
    luminance = config.black_level + (1 - config.black_level) * value**config.gamma
    np.testing.assert_allclose(np.exp(seen[top : top + 28, left : left + 28]), luminance, rtol=1e-4)
    beside = np.ones(seen.shape, bool)
    beside[top : top + 28, left : left + 28] = False
    np.testing.assert_allclose(np.exp(seen[beside]), 1.0 if inverted else config.black_level, rtol=1e-5)


def test_events_are_where_the_moved_image_has_its_edges() -> None:
    """A bright dot goes down: ON below it and OFF above, where the path says that it is."""
    image = np.zeros((180, 240), np.uint8)
    image[100:104, 100:104] = 255
    events = simulate_image(image, CALM, "a/b")
    down = (events.t > 20_000) & (events.t < 60_000)
    y, p = events.y[down].astype(float), events.p[down]
    assert y[p == 1].mean() > y[p == 0].mean() + 2
    margin = motion_margin(CALM)
    assert 100 - margin <= y.min()
    assert y.max() <= 104 + CALM.amplitude_px - margin


def test_pixels_start_anywhere_between_their_thresholds() -> None:
    """A fall by half a threshold fires nothing from rest, and for a quarter of pixels whose start is anywhere."""
    image = np.full((180, 240), 255, np.uint8)
    rise = CALM.on_threshold / 2
    image[:, :120] = round(255 * ((math.exp(-rise) - CALM.black_level) / (1 - CALM.black_level)) ** (1 / CALM.gamma))
    resting = simulate_image(image, CALM, "a/b")
    spread = simulate_image(image, CALM.model_copy(update={"start_spread": 1.0}), "a/b")
    assert len(resting) == 0
    rows = int(spread.y.max()) + 1
    passed = spread.x[(spread.p == 0) & (spread.t < 215_000)]  # pixels that the dark side comes over
    whole = np.bincount(passed, minlength=240)[114:118] / rows
    np.testing.assert_allclose(whole, 0.25, atol=0.1)


def test_simulated_digits_are_like_real_ones_that_set_no_default(shared_data: Path) -> None:
    """N-MNIST's recordings beyond the 300th, and other digits of the same classes: number, course, polarity."""
    recordings, digits = NMnist(shared_data / "NMNIST"), Mnist(shared_data / "MNIST")
    real, ours = [], []
    for label in range(10):
        held_out = [s for s in recordings.samples if s.label == label and int(s.sample_id[-5:]) > 300][:15]
        some = [s for s in digits.samples if s.label == label]
        for number, sample in enumerate(held_out):
            real.append(decoded(recordings, sample))
            digit = some[number * len(some) // len(held_out)]
            picture = digits.decode(digit, digits.read_bytes(digit))
            ours.append(simulate_image(picture, CAMERAS["nmnist"], digit.sample_id))
    assert np.mean([len(e) for e in ours]) == pytest.approx(np.mean([len(e) for e in real]), rel=0.15)
    course = [
        np.histogram(np.concatenate([e.t for e in some]), 30, (0, 300_000), density=True)[0] for some in (real, ours)
    ]
    assert np.corrcoef(*course)[0, 1] > 0.9
    # Dark digits: while they go left, the pixels at their right brighten.
    for some in (real, ours):
        left = [(e.x[(e.t > 240_000) & (e.t < 270_000)], e.p[(e.t > 240_000) & (e.t < 270_000)]) for e in some]
        x, p = (np.concatenate(parts).astype(float) for parts in zip(*left, strict=True))
        assert x[p == 1].mean() > x[p == 0].mean() + 2


def decoded(recordings: NMnist, sample: Sample) -> Events:
    records = recordings.decode(sample, recordings.read_bytes(sample))
    assert isinstance(records, AtisRecords)
    return decode_records(records)
