"""An image file to RGB. Pillow decodes; every way in which a file can be broken becomes a SourceError."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Final

import numpy as np
from PIL import Image

from ...cache.errors import SourceError
from .base import UInt8Array

MAX_PIXELS: Final = 1 << 25  # 33 megapixels, 100 MB as RGB; Caltech101's photos have 0.1
MAX_SCANS: Final = 100  # of a JPEG, of which each costs a pass over all pixels; progressive ones have about 10
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
_START_OF_SCAN: Final = b"\xff\xda"
_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_BROKEN: Final = (
    OSError,  # unidentified or truncated
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode_image(data: bytes, location: str) -> UInt8Array:
    """The image as (H, W, 3) uint8 RGB, in the orientation in which its pixels are stored.

    Of several pictures in a file it is the first. Grey is copied to the three channels; palettes and CMYK are
    converted; 16-bit grey keeps its upper byte; transparency is dropped. An EXIF orientation is not applied: boxes and
    recordings refer to the stored pixels.
    Raises SourceError when the file is broken, has more than `MAX_PIXELS` pixels, or more than `MAX_SCANS` scans.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise SourceError(f"{location}: {width} x {height} pixels, the limit is {MAX_PIXELS}; remove the image")
            if image.format == "JPEG" and data.count(_START_OF_SCAN) > MAX_SCANS:
                raise SourceError(f"{location}: more than {MAX_SCANS} scans in a JPEG; remove the image")
            return np.array(_to_rgb(image), dtype=np.uint8)
    except _BROKEN as error:
        raise SourceError(
            f"{location}: {len(data)} bytes are not a whole {', '.join(_FORMATS)} image "
            f"({type(error).__name__}{_told(error)}); fetch it again"
        ) from error


def _told(error: BaseException) -> str:
    """What Pillow says; not where in memory the bytes lay."""
    return "" if "BytesIO" in str(error) else f": {error}"


def require_image(decoded: Any, location: str) -> UInt8Array:
    """What a reader gave, if it is an image (H, W, 3) of uint8. Raises SourceError."""
    if not isinstance(decoded, np.ndarray):
        found = type(decoded).__name__
    elif decoded.dtype != np.uint8 or decoded.ndim != 3 or decoded.shape[2] != 3 or not decoded.size:
        found = f"{decoded.shape} {decoded.dtype}"
    else:
        return decoded
    raise SourceError(f"{location}: its reader gave {found}, expected an image as (H, W, 3) uint8 RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, in one of Pillow's several modes for them
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 0xFFFF:
            raise ValueError(f"grey values {values.min()} to {values.max()} do not fit 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
