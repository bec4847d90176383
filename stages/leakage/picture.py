"""The picture sheet of an audit: columns of cases, each a caption above a few small pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...cache import durable
from ..preview import event_picture

_TILE: Final = 96  # pixels a side
_GAP: Final = 6
_CAPTION: Final = 28
_COLUMN: Final = 4 * (_TILE + _GAP) + 24  # width


def draw_sheet(path: Path, columns: Mapping[str, Sequence[tuple[str, Sequence[Image.Image | None]]]]) -> None:
    """Write a PNG, whole or not at all: by title, the cases of each column, at most four pictures in one."""
    height = _CAPTION + max(1, *map(len, columns.values())) * (_CAPTION + _TILE + _GAP)
    sheet = Image.new("RGB", (len(columns) * _COLUMN, height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, cases) in enumerate(columns.items()):
        x = number * _COLUMN + _GAP
        pen.text((x, _GAP), title, fill="black")
        for top, (caption, tiles) in zip(range(_CAPTION, height, _CAPTION + _TILE + _GAP), cases, strict=False):
            pen.text((x, top), caption, fill="black")
            for column, tile in enumerate(tiles):
                if tile is not None:
                    sheet.paste(tile, (x + column * (_TILE + _GAP), top + _CAPTION))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, png.getbuffer())


def event_tile(frames: NDArray[Any]) -> Image.Image:
    """A recording's frames (T, 2, H, W), summed over time."""
    return _tile(255 * event_picture(frames.sum(0, keepdims=True, dtype=np.float32))[0])


def image_tile(image: NDArray[np.uint8]) -> Image.Image:
    """(3, H, W)."""
    return _tile(np.moveaxis(image, 0, -1))


def _tile(picture: NDArray[Any]) -> Image.Image:
    return Image.fromarray(picture.astype(np.uint8)).resize((_TILE, _TILE), Image.Resampling.NEAREST)
