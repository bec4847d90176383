"""Animations: every step is that time bin, in each of the three formats, framed and labelled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import preview
from dvs_transfer.stages.preview.animation import CAPTION, FOOTER, GAP, TILE

from stores import build_store

SIZE, NUM_BINS, NUM_SAMPLES = 6, 4, 2


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return FrameStore(build_store(tmp_path, "events", num_bins=NUM_BINS))


def shown_by_pillow(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)])


def shown_by_ffmpeg(path: Path) -> NDArray[np.uint8]:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio's ffmpeg is not installed (extra video)")
    as_png = path.with_suffix(".apng")
    subprocess.run([ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, as_png], check=True)
    frames = shown_by_pillow(as_png)
    assert len(frames) >= 50  # five seconds
    assert len(frames) % NUM_BINS == 0
    assert np.abs(frames[-NUM_BINS:].astype(int) - frames[:NUM_BINS]).mean() < 3  # repeated as a whole
    return frames[:NUM_BINS]


@pytest.mark.parametrize(
    ("ending", "read", "tolerance"),
    [("png", shown_by_pillow, 1), ("gif", shown_by_pillow, 24), ("mp4", shown_by_ffmpeg, 60)],
)
def test_every_step_is_that_time_bin(
    ending: str, read: Callable[[Path], NDArray[np.uint8]], tolerance: int, store: FrameStore, tmp_path: Path
) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio", reason="imageio is not installed (extra video)")
    written = preview.run(store.path, tmp_path / f"a.{ending}", NUM_SAMPLES)
    frames = read(written[-1])
    assert len(frames) == NUM_BINS
    samples = preview.choose_samples(store, NUM_SAMPLES)
    scale = TILE // SIZE
    for number, sample in enumerate(samples):
        assert sample.frames is not None
        left, middle = GAP + number * (TILE + GAP), scale // 2
        tile = frames[:, CAPTION : CAPTION + TILE, left : left + TILE]
        found = tile[:, middle::scale, middle::scale].astype(int)
        assert found.shape == (NUM_BINS, SIZE, SIZE, 3)
        assert np.abs(found - 255 * preview.event_picture(sample.frames)).max() <= tolerance
        border = frames[:, CAPTION - 1, left : left + TILE]
        assert border.max() < 180
        label = frames[:, : CAPTION - 2, left : left + TILE]
        assert label.min() < 80
    footer = frames[:, -FOOTER:].astype(int)
    assert (np.abs(np.diff(footer, axis=0)).max(axis=(1, 2, 3)) > 100).all()


def test_many_recordings_stand_in_a_square(store: FrameStore, tmp_path: Path) -> None:
    (out,) = preview.run(store.path, tmp_path / "a.gif", 9)
    with Image.open(out) as picture:
        assert picture.width == 3 * (TILE + GAP) + GAP
        assert picture.height == 3 * (CAPTION + TILE + GAP) + FOOTER


def test_without_imageio_it_says_what_to_install(
    store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(ConfigError, match=r"pip install 'dvs-transfer\[video\]'`, or give a name that ends in \.gif"):
        preview.run(store.path, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("ending", ["gif", "mp4", "html"])
def test_images_do_not_play(ending: str, tmp_path: Path) -> None:
    images = build_store(tmp_path, "images")
    with pytest.raises(ConfigError, match=r"a store of images has no recordings to play; draw it as \.png"):
        preview.run(images, tmp_path / f"a.{ending}")


@pytest.mark.parametrize(("name", "most"), [("a.png", 64), ("a.mp4", 64), ("a.html", 1000)])
def test_too_many_samples_are_refused(name: str, most: int, store: FrameStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{most + 1} samples: a p[a-z]+ shows at most {most}"):
        preview.run(store.path, tmp_path / name, most + 1)
