"""The picture sheet of an audit: columns of cases, each a caption above a few small pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...cache import durable
from ...cache.store import FrameStore
from ..preview import event_picture

_TILE: Final = 96  # pixels a side
_GAP: Final = 6
_CAPTION: Final = 28
_COLUMN: Final = 4 * (_TILE + _GAP) + 24  # width


class Case(NamedTuple):
    """recordings, images: rows in their stores, at most four in all; -1 stays white."""

    caption: str
    recordings: Sequence[int]
    images: Sequence[int]


def draw_sheet(
    path: Path, events: FrameStore, images: FrameStore | None, columns: Mapping[str, Sequence[Case]]
) -> None:
    """Write the cases of each column, by its title, as a PNG, whole or not at all."""
    height = _CAPTION + max(1, *map(len, columns.values())) * (_CAPTION + _TILE + _GAP)
    sheet = Image.new("RGB", (len(columns) * _COLUMN, height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (title, cases) in enumerate(columns.items()):
        x = number * _COLUMN + _GAP
        pen.text((x, _GAP), title, fill="black")
        for top, case in zip(range(_CAPTION, height, _CAPTION + _TILE + _GAP), cases, strict=False):
            pen.text((x, top), case.caption, fill="black")
            pictures = [_recording(events, row) for row in case.recordings]
            pictures += [_image(images, row) for row in case.images]
            for at, picture in enumerate(pictures):
                tile = Image.fromarray(picture.astype(np.uint8)).resize((_TILE, _TILE), Image.Resampling.NEAREST)
                sheet.paste(tile, (x + at * (_TILE + _GAP), top + _CAPTION))
    png = io.BytesIO()
    sheet.save(png, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, png.getbuffer())


def _recording(events: FrameStore, row: int) -> NDArray[Any]:
    frames = events.read("frames", np.array([row]))[0]
    picture: NDArray[Any] = 255 * event_picture(frames.sum(0, keepdims=True, dtype=np.float32))[0]
    return picture


def _image(images: FrameStore | None, row: int) -> NDArray[Any]:
    if images is None or row < 0:
        return np.full((1, 1, 3), 255)
    image: NDArray[Any] = images.read("images", np.array([row]))[0]
    return np.moveaxis(image, 0, -1)
