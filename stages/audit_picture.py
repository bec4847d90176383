"""The picture sheet of an audit: held-out recordings, their photos, and what is most like them within reach."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..cache import durable
from ..cache.store import FrameStore
from .preview import event_picture

if TYPE_CHECKING:
    from .audit import PhotoMatch, RecordingMatch

IntArray = NDArray[np.int64]

_TILE: Final = 96  # pixels a side
_GAP: Final = 6
_CAPTION: Final = 28
_BLOCK: Final = 4 * (_TILE + _GAP) + 24  # width of one of the two columns
_TITLES: Final = (
    "held-out recording | its photo | most like it in the static pool",
    "two recordings of different splits | their photos",
)


def draw_to(
    path: Path,
    events: FrameStore,
    images: FrameStore | None,
    photo_row: IntArray,
    photos: Sequence[PhotoMatch],
    recordings: Sequence[RecordingMatch],
) -> None:
    """Write the sheet as a PNG, whole or not at all. photo_row: (N,) the photo of each recording, -1: none known."""
    event_row = {str(name): row for row, name in enumerate(events.sample_id)}
    image_row = {} if images is None else {str(name): row for row, name in enumerate(images.sample_id)}

    def recording(name: str) -> Image.Image:
        frames = events.read("frames", np.array([event_row[name]]))[0]
        return _tile(255 * event_picture(frames.sum(0, keepdims=True, dtype=np.float32))[0])

    def image(row: int) -> Image.Image:
        if images is None or row < 0:
            return Image.new("RGB", (_TILE, _TILE), "white")
        return _tile(np.moveaxis(images.read("images", np.array([row]))[0], 0, -1))

    left = [
        (
            f"{match.split}: {match.recording}, of {match.photo or '?'}\n{match.image}: {_verdict(match)}",
            [recording(match.recording), *(image(image_row.get(name, -1)) for name in (match.photo, match.image))],
        )
        for match in photos
    ]
    right = [
        (
            f"{match.split}: {match.recording}\n{match.other_split}: {match.other}: {_verdict(match)}",
            [
                *(recording(name) for name in (match.recording, match.other)),
                *(image(int(photo_row[event_row[name]])) for name in (match.recording, match.other)),
            ],
        )
        for match in recordings
    ]
    height = _CAPTION + max(1, len(left), len(right)) * (_CAPTION + _TILE + _GAP)
    sheet = Image.new("RGB", (2 * _BLOCK, height), "white")
    for x, title, cases in zip((_GAP, _BLOCK), _TITLES, (left, right), strict=True):
        _draw_column(sheet, x, title, cases)
    png = io.BytesIO()
    sheet.save(png, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, png.getbuffer())


def _draw_column(sheet: Image.Image, x: int, title: str, cases: Iterable[tuple[str, list[Image.Image]]]) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((x, _GAP), title, fill="black")
    for number, (caption, tiles) in enumerate(cases):
        top = _CAPTION + number * (_CAPTION + _TILE + _GAP)
        pen.text((x, top), caption, fill="black")
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (x + column * (_TILE + _GAP), top + _CAPTION))


def _verdict(match: PhotoMatch | RecordingMatch) -> str:
    if match.way in ("id", "likely"):
        return "the photo itself" if match.way == "id" else "likely what was recorded"
    how = {"digest": "the same file", "near-duplicate": "looks the same", "no": "not counted"}[match.way]
    return f"{how}, {match.distance} bits, {match.correlation:.3f}"


def _tile(picture: NDArray[np.float32] | NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(picture.astype(np.uint8)).resize((_TILE, _TILE), Image.Resampling.NEAREST)
