"""The HSV reader: RGB to HSV and back, for single images and batches (Smith 1978; as colorsys does).

Every channel is in [0, 1]; hue is a fraction of the circle in [0, 1), 0 = red; grey has hue and saturation 0.
The static images' V channel comes from here, whatever data set they are of.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
CHANNEL: Final = -3


def rgb_to_hsv(rgb: Image) -> Image:
    """RGB (3, H, W) or (B, 3, H, W), float in [0, 1], to HSV of the same shape and dtype.

    Raises ValueError on another shape, dtype or range.
    """
    highest = value(rgb)
    chroma = highest - rgb.min(axis=CHANNEL, keepdims=True)
    red, green, blue = np.split(rgb, 3, axis=CHANNEL)
    span = np.where(chroma > 0, chroma, 1)
    sixths = np.concatenate([(green - blue) / span, 2 + (blue - red) / span, 4 + (red - green) / span], axis=CHANNEL)
    hue = np.take_along_axis(sixths, rgb.argmax(axis=CHANNEL, keepdims=True), axis=CHANNEL) / 6 % 1
    hue = np.where(hue < 1, hue, 0)  # a tiny negative hue rounds up to the whole circle
    saturation = chroma / np.where(highest > 0, highest, 1)
    hsv: Image = np.concatenate([hue, saturation, highest], axis=CHANNEL).astype(rgb.dtype, copy=False)
    return hsv


def hsv_to_rgb(hsv: Image) -> Image:
    """HSV (3, H, W) or (B, 3, H, W), float in [0, 1], to RGB of the same shape and dtype. Hue 1 is hue 0.

    Each of R, G, B is value * (1 - saturation * c), c a trapezoid of the hue: 0 around its own colour, 1 opposite.
    Raises ValueError on another shape, dtype or range.
    """
    _check(hsv, "HSV")
    hue, saturation, highest = np.split(hsv, 3, axis=CHANNEL)
    own = np.array([5, 3, 1], hsv.dtype).reshape(3, 1, 1)
    sector = (own + hue * 6) % 6
    rgb: Image = highest * (1 - saturation * np.minimum(sector, 4 - sector).clip(0, 1))
    return rgb


def value(rgb: Image) -> Image:
    """HSV's V alone, the largest of R, G, B: (3, H, W) or (B, 3, H, W) to (1, H, W) or (B, 1, H, W)."""
    _check(rgb, "RGB")
    highest: Image = rgb.max(axis=CHANNEL, keepdims=True)
    return highest


def _check(image: Image, name: str) -> None:
    if image.ndim not in (3, 4) or image.shape[CHANNEL] != 3 or image.dtype.kind != "f":
        raise ValueError(f"{name} is a float (3, H, W) or (B, 3, H, W), not {image.shape} {image.dtype}")
    if image.size and not (image.min() >= 0 and image.max() <= 1):  # also false for NaN
        raise ValueError(f"{name} lies in [0, 1], not {image.min()} to {image.max()}; divide 8-bit images by 255")
