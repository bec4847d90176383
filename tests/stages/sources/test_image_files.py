from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.images import decode_image


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_an_rgb_image_keeps_its_pixels(make: Any, picture: Image.Image) -> None:
    image = decode_image(make.image(picture, "PNG"), "a.png")
    np.testing.assert_array_equal(image, np.asarray(picture))
    assert image.flags.writeable
    assert image.flags.owndata


@pytest.mark.parametrize(
    ("mode", "format"),
    [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("P", "GIF"), ("P", "PNG")],
)
def test_grey_and_palette_become_what_pillow_shows(make: Any, picture: Image.Image, mode: str, format: str) -> None:
    stored = picture.convert(mode)
    image = decode_image(make.image(stored, format), "a")
    assert (image.shape, image.dtype) == ((12, 17, 3), np.uint8)
    if format != "JPEG":
        np.testing.assert_array_equal(image, np.asarray(stored.convert("RGB")))


def test_cmyk_becomes_rgb(make: Any) -> None:
    image = decode_image(make.image(Image.new("CMYK", (8, 8), (0, 255, 255, 0))), "a.jpg")
    assert np.abs(image.astype(int) - (255, 0, 0)).max() < 10


def test_transparency_is_dropped_without_a_warning(make: Any, picture: Image.Image) -> None:
    transparent = picture.convert("RGBA")
    transparent.putalpha(7)
    np.testing.assert_array_equal(decode_image(make.image(transparent, "PNG"), "a"), np.asarray(picture))
    palette = picture.convert("P")
    palette.info["transparency"] = bytes(range(200))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode_image(make.image(palette, "PNG"), "a")
    np.testing.assert_array_equal(image, np.asarray(palette.convert("RGBA"))[..., :3])


def test_sixteen_bits_keep_the_upper_byte(make: Any) -> None:
    values = np.array([[0, 255, 256, 0xABCD, 0xFFFF]], dtype=np.uint16)
    image = decode_image(make.image(Image.fromarray(values), "PNG"), "a.png")
    assert image[0, :, 0].tolist() == [0, 0, 1, 0xAB, 0xFF]


def test_an_exif_orientation_is_not_applied(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue(), "a.jpg").shape == (12, 17, 3)


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("side", [6_000, 10_000, 12_000, 50_000])
def test_a_pixel_bomb_is_refused_by_its_header(side: int) -> None:
    data = png_header(side, side) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(SourceError, match=r"bomb\.png: .*(pixels|Bomb)"):
        decode_image(data, "bomb.png")


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=rf"a\.jpg: {len(data)} bytes are not a whole"):
        decode_image(data, "a.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_every_truncation_is_noticed(make: Any, picture: Image.Image, format: str) -> None:
    data = make.image(picture, format)
    body = len(data) - (2 if format == "JPEG" else 24)  # end marks and checksums after the pixels may be missing
    for size in range(0, body, 7):
        with pytest.raises(SourceError, match="a: "):
            decode_image(data[:size], "a")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_flipped_byte_is_an_error_or_another_image(make: Any, picture: Image.Image, format: str) -> None:
    whole = make.image(picture, format)

    @settings(max_examples=150, deadline=None)
    @given(offset=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def flip(offset: int, value: int) -> None:
        data = bytearray(whole)
        data[offset] = value
        with contextlib.suppress(SourceError):  # any other exception fails
            image = decode_image(bytes(data), "a")
            assert image.dtype == np.uint8
            assert image.shape[2] == 3

    flip()
