"""Pictures of what a store holds: the frames of some recordings beside their image and its V channel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cache import durable
from ..cache.errors import ConfigError, StoreError
from ..cache.pairs import PairStore
from ..cache.store import FrameStore

FULL_SCALE_PERCENTILE = 95
ANIMATION_SCALE = 4
ANIMATION_FRAME_MS = 100


@dataclass(frozen=True)
class PreviewSample:
    """What is drawn in one row. frames: (T, 2, H, W) counts; image: (3, H, W) uint8 RGB; value: (1, H, W) in [0, 1]."""

    title: str
    frames: NDArray[Any] | None = None
    image: NDArray[np.uint8] | None = None
    value: NDArray[np.float32] | None = None


def run(store_path: Path, out: Path, num_samples: int = 4) -> tuple[Path, Path | None]:
    """Draw some samples of a pair, event or image store to `out` (PNG); recordings also animated, beside it.

    Returns both paths, None for the second where there are no recordings. Raises ConfigError: `out` is named as another
    kind of file; StoreError: nothing to draw.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: pictures are written as PNG; give a name that ends in .png")
    samples = choose_samples(FrameStore(store_path), num_samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    recordings = [sample.frames for sample in samples if sample.frames is not None]
    animated = out.with_name(f"{out.stem}-animated.png") if recordings else None
    if animated is not None:
        animate(recordings, animated)
    draw(samples, out)  # last: where it is, both are
    return out, animated


def choose_samples(store: FrameStore, num_samples: int) -> list[PreviewSample]:
    """Samples spread evenly over the classes; pairs are drawn with the recording's own photo where it has one."""
    pairs = PairStore(store.path) if store.kind == "pairs" else None
    shown = pairs.events if pairs else store
    valid = np.flatnonzero(shown.valid)
    if not len(valid):
        raise StoreError(f"{store.path}: every sample is quarantined, there is nothing to draw")
    rows = valid[np.unique(np.linspace(0, len(valid) - 1, num_samples).astype(int))]
    return [_sample(shown, int(row), pairs) for row in rows]


def _sample(store: FrameStore, row: int, pairs: PairStore | None) -> PreviewSample:
    """Titled by the sample's id, and what its frames show of a recording's events, where the store says it."""
    title, rows = str(store.sample_id[row]), np.array([row])
    if "num_in_frames/zarr.json" in store.attributes.files:
        num_events, seen = (int(store.column(name)[row]) for name in ("num_events", "num_in_frames"))
        title = f"{title}: {num_events:,} events, {seen / num_events:.1%} in these frames"
    frames = None if store.kind == "images" else store.read("frames", rows)[0]
    images = store if store.kind == "images" else pairs.images if pairs else None
    if pairs and images:
        rows = _image_rows(pairs, row)
    if images is None or not len(rows):
        return PreviewSample(title, frames)
    return PreviewSample(title, frames, images.read("images", rows)[0], images.read("value", rows)[0])


def _image_rows(pairs: PairStore, row: int) -> NDArray[np.int64]:
    """(1,) the recording's own photo, else the first image of its class that may teach; (0,) where there is none."""
    photo: NDArray[np.int64] = pairs.store.column("photo_row")[[row]]
    if photo[0] >= 0:
        return photo
    label = int(pairs.labels_of(np.array([row]))[0])
    first, last = pairs.store.column("pool_offsets")[[label, label + 1]] if label >= 0 else (0, 0)
    in_pool: NDArray[np.int64] = pairs.store.column("pool_rows")[first:last][:1]
    return in_pool


def draw(samples: Sequence[PreviewSample], path: Path) -> None:
    """Write a PNG, whole or not at all: one row for each sample, its time bins in order, then its image and V."""
    from matplotlib.figure import Figure

    cells = [pictures_of(sample) for sample in samples]
    width, height = 1.15 * max(map(len, cells)), 1.6 * len(samples)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: twenty of their own take half a second
    axes.axis("off")
    for row, (sample, pictures) in enumerate(zip(samples, cells, strict=True)):
        axes.text(0.06, 1.6 * row + 0.08, sample.title, fontsize=8, va="top", parse_math=False)
        for column, (caption, picture) in enumerate(pictures):
            left, top, sides = 1.15 * column + 0.04, 1.6 * row + 0.48, np.array(picture.shape[:2])
            high, wide = 1.07 * sides / sides.max()
            place = (left, left + wide, top + high, top)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=place, aspect="auto")
            axes.text(left + wide / 2, top - 0.03, caption, fontsize=6, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(height, 0))  # in inches, from the upper left corner
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    durable.write_bytes(path, png.getbuffer())


def animate(recordings: Sequence[NDArray[Any]], path: Path) -> None:
    """Write the recordings side by side as an animated PNG that repeats, one picture for each time bin."""
    strips = np.concatenate([event_picture(frames) for frames in recordings], axis=2)
    larger = np.uint8(strips * 255).repeat(ANIMATION_SCALE, axis=1).repeat(ANIMATION_SCALE, axis=2)
    first, *others = map(Image.fromarray, larger)
    png = io.BytesIO()
    first.save(png, "PNG", save_all=True, append_images=others, duration=ANIMATION_FRAME_MS, loop=0)
    durable.write_bytes(path, png.getbuffer())


def event_picture(frames: NDArray[Any]) -> NDArray[np.float32]:
    """(T, 2, H, W) counts as (T, H, W, 3) RGB in [0, 1]: ON red, OFF blue, both black, on white.

    Full colour is the recording's 95th percentile of the pixels that saw events.
    """
    counts = frames.astype(np.float32)
    seen = counts[counts > 0]
    scale = np.percentile(seen, FULL_SCALE_PERCENTILE) if len(seen) else 1.0
    off, on = np.moveaxis(np.clip(counts / scale, 0, 1), 1, 0)
    picture: NDArray[np.float32] = np.stack([1 - off, 1 - np.maximum(on, off), 1 - on], axis=-1)
    return picture


def pictures_of(sample: PreviewSample) -> list[tuple[str, NDArray[Any]]]:
    """Captions and pictures of a sample, (H, W, 3) or grey (H, W), in [0, 1] or uint8, in the order they are drawn."""
    cells: list[tuple[str, NDArray[Any]]] = []
    if sample.frames is not None:
        cells += [(f"t = {step}", picture) for step, picture in enumerate(event_picture(sample.frames))]
    if sample.image is not None:
        cells.append(("image", np.moveaxis(sample.image, 0, -1)))
    if sample.value is not None:
        cells.append(("V", sample.value[0]))
    return cells
