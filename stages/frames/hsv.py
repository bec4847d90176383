"""RGB to HSV and back, for single images and batches, numpy arrays and torch tensors (Smith 1978; as colorsys does).

Every channel is in [0, 1]; hue is a fraction of the circle in [0, 1), 0 = red; grey has hue and saturation 0.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = TypeVar("Image", NDArray[np.floating], Tensor)

CHANNEL = -3


def rgb_to_hsv(rgb: Image) -> Image:
    """RGB (3, H, W) or (B, 3, H, W), float in [0, 1], to HSV of the same shape, dtype and kind.

    Raises ValueError on another shape, dtype or range.
    """
    if isinstance(rgb, np.ndarray):
        return rgb_to_hsv(torch.from_numpy(rgb)).numpy()
    _check(rgb, "RGB")
    value, largest = rgb.max(dim=CHANNEL)
    chroma = value - rgb.amin(dim=CHANNEL)
    red, green, blue = rgb.unbind(CHANNEL)
    span = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.stack([(green - blue) / span, 2 + (blue - red) / span, 4 + (red - green) / span], dim=CHANNEL)
    hue = sixths.gather(CHANNEL, largest.unsqueeze(CHANNEL)).squeeze(CHANNEL) / 6 % 1
    hue = torch.where(hue < 1, hue, torch.zeros_like(hue))  # a tiny negative hue rounds up to the whole circle
    saturation = chroma / torch.where(value > 0, value, torch.ones_like(value))
    return torch.stack([hue, saturation, value], dim=CHANNEL)


def hsv_to_rgb(hsv: Image) -> Image:
    """HSV (3, H, W) or (B, 3, H, W), float in [0, 1], to RGB of the same shape, dtype and kind. Hue 1 is hue 0.

    Each of R, G, B is value * (1 - saturation * c), c a trapezoid of the hue: 0 around its own colour, 1 opposite.
    Raises ValueError on another shape, dtype or range.
    """
    if isinstance(hsv, np.ndarray):
        return hsv_to_rgb(torch.from_numpy(hsv)).numpy()
    _check(hsv, "HSV")
    hue, saturation, value = hsv.unbind(CHANNEL)
    own = torch.tensor([5.0, 3.0, 1.0], dtype=hsv.dtype, device=hsv.device).reshape(3, 1, 1)
    sector = (own + (hue * 6).unsqueeze(CHANNEL)) % 6
    distance = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return value.unsqueeze(CHANNEL) * (1 - saturation.unsqueeze(CHANNEL) * distance)


def value(rgb: Image) -> Image:
    """HSV's V alone, the largest of R, G, B: (3, H, W) or (B, 3, H, W) to (1, H, W) or (B, 1, H, W)."""
    if isinstance(rgb, np.ndarray):
        return value(torch.from_numpy(rgb)).numpy()
    _check(rgb, "RGB")
    return rgb.amax(dim=CHANNEL, keepdim=True)


def _check(image: Tensor, name: str) -> None:
    if image.ndim not in (3, 4) or image.shape[CHANNEL] != 3 or not image.is_floating_point():
        raise ValueError(f"{name} is a float (3, H, W) or (B, 3, H, W), not {tuple(image.shape)} {image.dtype}")
    if image.numel() and not (image.min() >= 0 and image.max() <= 1):  # also false for NaN
        low, high = float(image.min()), float(image.max())
        raise ValueError(f"{name} lies in [0, 1], not {low} to {high}; divide 8-bit images by 255")
