"""A photo becomes a static input: resized to S x S, and the V channel of HSV (He et al. 2024)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .hsv import value
from .resize import half_pixel_taps
from .spec import ImagesConfig


class EncodedImage(NamedTuple):
    """image: (3, S, S) uint8 RGB.  value: (1, S, S) float32, V of HSV in [0, 1]."""

    image: NDArray[np.uint8]
    value: NDArray[np.float32]


def encode_image(rgb: NDArray[np.uint8], config: ImagesConfig) -> EncodedImage:
    """Resize a photo (H, W, 3) uint8 RGB and take its V channel (see `hsv`).

    The image is resized by Pillow's bilinear filter, which averages over the pixels that a smaller one covers. So is V
    with order "after_resize", being taken from the result. With "before_resize" V is resized as the float tensor that
    it is in the released code: bilinear between pixel centres, without averaging (torch's `interpolate` with
    align_corners=False, which is how torchvision before 0.17 resizes a tensor).

    Raises ValueError when the array has another shape or type, or no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"expected an image (H, W, 3) uint8 with at least one pixel, found {rgb.shape} {rgb.dtype}")
    resized = Image.fromarray(rgb).resize((config.size, config.size), Image.Resampling.BILINEAR)
    image = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
    if config.value_order == "after_resize":
        return EncodedImage(image, value(_in_unit(image)))
    return EncodedImage(image, _resize_value(value(_in_unit(rgb.transpose(2, 0, 1)))[0], config.size)[None])


def _in_unit(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)


def _resize_value(whole: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    rows, columns = (half_pixel_taps(length, size) for length in whole.shape)
    lines = whole[rows.first] * (1 - rows.weight)[:, None] + whole[rows.second] * rows.weight[:, None]
    resized = lines[:, columns.first] * (1 - columns.weight) + lines[:, columns.second] * columns.weight
    return resized.astype(np.float32, copy=False)
