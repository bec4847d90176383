"""Pictures of samples: the frames of recordings beside their image and its V channel, with borders and labels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache import durable

FULL_SCALE_PERCENTILE = 95
COLOUR_KEY = (("ON", "red"), ("OFF", "blue"), ("both", "black"))
_ROW, _COLUMN, _PICTURE = 1.72, 1.15, 1.07  # inches


@dataclass(frozen=True)
class PreviewSample:
    """What is drawn in one row. frames: (T, 2, H, W) counts; image: (3, H, W) uint8 RGB; value: (1, H, W) in [0, 1].

    about, class_name, split: for labels, where they are known.  photo: whose photo the image is, in words.
    """

    title: str
    frames: NDArray[Any] | None = None
    image: NDArray[np.uint8] | None = None
    value: NDArray[np.float32] | None = None
    about: str = ""
    class_name: str = ""
    split: str = ""
    photo: str = "image"

    @property
    def label(self) -> str:
        """Its class, and its split where there is one."""
        named = (f"class {self.class_name}" if self.class_name else "", self.split)
        return ", ".join(filter(None, named))


def draw(samples: Sequence[PreviewSample], path: Path) -> None:
    """Write a PNG, whole or not at all: one row for each sample, its time bins in order, then its image and V."""
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    cells = [pictures_of(sample) for sample in samples]
    has_frames = any(sample.frames is not None for sample in samples)
    width, height = max(_COLUMN * max(map(len, cells)), 3.2), _ROW * len(samples) + 0.24 * has_frames
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: twenty of their own take half a second
    axes.axis("off")
    borders = []
    for row, (sample, pictures) in enumerate(zip(samples, cells, strict=True)):
        top = _ROW * row
        title = ": ".join(filter(None, (sample.title, sample.about)))
        axes.text(0.06, top + 0.08, title, fontsize=8, va="top", parse_math=False)
        axes.text(0.06, top + 0.24, sample.label, fontsize=7, va="top", color="0.35", parse_math=False)
        for column, (caption, picture) in enumerate(pictures):
            left, upper, sides = _COLUMN * column + 0.04, top + 0.58, np.array(picture.shape[:2])
            high, wide = _PICTURE * sides / sides.max()
            place = (left, left + wide, upper + high, upper)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=place, aspect="auto")
            axes.text(left + wide / 2, upper - 0.03, caption, fontsize=6, ha="center", va="bottom")
            borders.append(Rectangle((left, upper), wide, high))
    axes.add_collection(PatchCollection(borders, facecolor="none", edgecolor="0.45", linewidth=0.6, zorder=3))
    if has_frames:
        for position, (name, colour) in enumerate(COLOUR_KEY):
            axes.text(0.06 + 0.4 * position, height - 0.07, name, fontsize=7, color=colour, weight="bold")
        axes.text(1.3, height - 0.07, "one picture for each time bin", fontsize=7, color="0.35")
    axes.set(xlim=(0, width), ylim=(height, 0))  # in inches, from the upper left corner
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    durable.write_bytes(path, png.getbuffer())


def full_scale(frames: NDArray[Any]) -> float:
    """The count that is drawn in full colour: the 95th percentile of the pixels that saw events; 1 without events."""
    counts = frames.astype(np.float32)
    seen = counts[counts > 0]
    return float(np.percentile(seen, FULL_SCALE_PERCENTILE)) if len(seen) else 1.0


def event_picture(frames: NDArray[Any]) -> NDArray[np.float32]:
    """(T, 2, H, W) counts as (T, H, W, 3) RGB in [0, 1]: ON red, OFF blue, both black, on white.

    Full colour is the recording's 95th percentile of the pixels that saw events.
    """
    off, on = np.moveaxis(np.clip(frames.astype(np.float32) / np.float32(full_scale(frames)), 0, 1), 1, 0)
    picture: NDArray[np.float32] = np.stack([1 - off, 1 - np.maximum(on, off), 1 - on], axis=-1)
    return picture


def pictures_of(sample: PreviewSample) -> list[tuple[str, NDArray[Any]]]:
    """Captions and pictures of a sample, (H, W, 3) or grey (H, W), in [0, 1] or uint8, in the order they are drawn."""
    cells: list[tuple[str, NDArray[Any]]] = []
    if sample.frames is not None:
        cells += [(f"t = {step}", picture) for step, picture in enumerate(event_picture(sample.frames), 1)]
    if sample.image is not None:
        cells.append((sample.photo, np.moveaxis(sample.image, 0, -1)))
    if sample.value is not None:
        cells.append(("V", sample.value[0]))
    return cells
