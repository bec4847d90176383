"""HSV against colorsys, matplotlib and Pillow, on random and on edge colours."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
from matplotlib import colors
from PIL import Image

from dvs_transfer.stages.frames.hsv import hsv_to_rgb, rgb_to_hsv, value

LEVELS = (0.0, 1e-6, 1 / 255, 0.25, 0.5, 1 - 1e-6, 1.0)
EDGE = np.array(list(itertools.product(LEVELS, repeat=3))).T.reshape(3, 7, 49)
RANDOM = np.random.default_rng(5).random((3, 40, 50))


@pytest.mark.parametrize("rgb", [EDGE, RANDOM], ids=["edge", "random"])
def test_both_ways_as_colorsys_and_matplotlib(rgb: np.ndarray) -> None:
    hsv = rgb_to_hsv(rgb)
    pixels = rgb.reshape(3, -1).T
    expected = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels]).T.reshape(rgb.shape)
    expected[0] %= 1  # colorsys rounds tiny negative hues up to 1
    assert ((hsv[0] >= 0) & (hsv[0] < 1)).all()
    np.testing.assert_allclose(_on_circle(hsv), _on_circle(expected), atol=1e-12)
    np.testing.assert_allclose(_on_circle(hsv), _on_circle(colors.rgb_to_hsv(pixels).T.reshape(rgb.shape)), atol=1e-9)
    np.testing.assert_allclose(hsv_to_rgb(hsv), rgb, atol=1e-12)
    there = np.array([colorsys.hsv_to_rgb(*pixel) for pixel in pixels]).T.reshape(rgb.shape)
    np.testing.assert_allclose(hsv_to_rgb(rgb), there, atol=1e-12)  # the same numbers, read as HSV


def _on_circle(hsv: np.ndarray) -> np.ndarray:
    """Hue as a point on the circle, so that 0.9999999 and 0 are neighbours."""
    angle = 2 * np.pi * hsv[0]
    return np.stack([np.cos(angle), np.sin(angle), hsv[1], hsv[2]])


def test_as_pillow_within_its_eight_bits() -> None:
    rgb = np.random.default_rng(6).integers(0, 256, (60, 70, 3), np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("HSV")).transpose(2, 0, 1) / 255
    found = rgb_to_hsv(rgb.transpose(2, 0, 1) / 255)
    distance = np.abs(found - expected)
    assert np.minimum(distance[0], 1 - distance[0]).max() <= 1.01 / 255
    assert distance[1].max() <= 1.01 / 255
    np.testing.assert_allclose(found[2], expected[2], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_are_the_single_images(dtype: type[np.floating]) -> None:
    batch = RANDOM.astype(dtype).reshape(3, 4, 10, 50).swapaxes(0, 1)  # not contiguous
    for convert in (rgb_to_hsv, hsv_to_rgb, value):
        result = convert(batch)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, np.stack([convert(image) for image in batch]))


def test_a_hue_just_below_the_circle_is_below_one_in_float32() -> None:
    red = np.array([1.0, 0.0, 1e-9], np.float32).reshape(3, 1, 1)
    assert rgb_to_hsv(red)[0].item() == 0
    assert hsv_to_rgb(np.ones((3, 1, 1))).ravel().tolist() == [1, 0, 0]


def test_value_is_the_largest_channel() -> None:
    np.testing.assert_array_equal(value(RANDOM), RANDOM.max(axis=0)[None])
    np.testing.assert_array_equal(value(RANDOM)[0], rgb_to_hsv(RANDOM)[2])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3)), r"not \(4, 5, 3\)"),
        (np.zeros((3, 4)), r"not \(3, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), "uint8"),
        (np.full((3, 1, 1), 1.5), "1.5"),
        (np.full((3, 1, 1), -0.5), "-0.5"),
        (np.full((3, 1, 1), np.nan), "nan"),
    ],
)
def test_other_shapes_types_and_ranges_are_refused(image: np.ndarray, message: str) -> None:
    for convert in (rgb_to_hsv, hsv_to_rgb, value):
        with pytest.raises(ValueError, match=message):
            convert(image)
