"""Pictures of stores: what is drawn, in which colours, and that a picture is there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvs_transfer.cache import durable
from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import pairing, preview
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.preview import choose_samples, event_picture

from stores import build_store


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    events = build_store(tmp_path, "events", quarantined=(0, 9))
    return pairing.run(PairingConfig(), events, build_store(tmp_path, "images", quarantined=(29,)), tmp_path).path


def test_on_is_red_off_is_blue_both_are_black() -> None:
    frames = np.zeros((1, 2, 2, 2), np.float16)
    frames[0, 0, 0, 1] = 8  # OFF
    frames[0, 1, 1, 0] = 8  # ON
    frames[0, :, 1, 1] = 8  # both
    picture = event_picture(frames)[0]
    np.testing.assert_array_equal(picture, [[[1, 1, 1], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]]])
    frames[0, 1, 1, 0] = 4
    np.testing.assert_allclose(event_picture(frames)[0, 1, 0], [1, 0.5, 0.5])


def test_a_recording_without_events_is_white() -> None:
    assert (event_picture(np.zeros((2, 2, 3, 3), np.uint8)) == 1).all()


def test_samples_are_spread_over_what_can_be_read(pairs: Path) -> None:
    store = PairStore(pairs)
    chosen = choose_samples(store.store, 4)
    titles = [sample.title for sample in chosen]
    valid = [str(name) for name in store.events.sample_id[store.events.valid]]
    assert titles == [valid[0], valid[9], valid[18], valid[27]]
    assert len(choose_samples(store.store, 64)) == len(valid) == 28
    for sample in chosen[:3]:  # the last one's photo is quarantined
        row = list(store.images.sample_id).index(sample.title)
        np.testing.assert_array_equal(sample.image, store.images.read("images", np.array([row]))[0])
        np.testing.assert_array_equal(sample.value, store.images.read("value", np.array([row]))[0])
        np.testing.assert_array_equal(sample.frames, store.events.read("frames", np.array([row]))[0])


def test_a_recording_without_a_photo_is_shown_beside_one_of_its_class(pairs: Path) -> None:
    store = PairStore(pairs)
    lonely = choose_samples(store.store, 28)[-1]
    assert lonely.title == "cat/image_0029"
    of_class = np.flatnonzero(store.images.label == 2)
    assert any(np.array_equal(lonely.image, image) for image in store.images.read("images", of_class))


@pytest.mark.parametrize(("kind", "animated"), [("events", True), ("images", False), ("pairs", True)])
def test_pictures_are_valid_png(kind: str, animated: bool, pairs: Path, tmp_path: Path) -> None:
    store = pairs if kind == "pairs" else next(tmp_path.glob(f"toy-{kind}-*"))
    out = tmp_path / "neue Bilder" / "größer.png"
    assert preview.run(store, out, 3) == (out, out.with_name("größer-animated.png") if animated else None)
    assert {path.name for path in out.parent.iterdir()} == {"größer.png", *(["größer-animated.png"] * animated)}
    for path in out.parent.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.n_frames == (3 if "animated" in path.name else 1)  # type: ignore[attr-defined]
            picture.load()


def test_every_step_of_the_animation_is_that_time_bin(tmp_path: Path) -> None:
    store = FrameStore(build_store(tmp_path, "events", num_bins=4))
    frames = list(store.read("frames", np.array([0, 1])))
    preview.animate(frames, tmp_path / "a.png")
    scale = preview.ANIMATION_SCALE
    with Image.open(tmp_path / "a.png") as picture:
        for step in range(4):
            picture.seek(step)
            strip = np.concatenate([event_picture(recording)[step] for recording in frames], axis=1)
            shown = np.asarray(picture.convert("RGB"))[::scale, ::scale]
            np.testing.assert_allclose(shown, strip * 255, atol=1)


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    store = build_store(tmp_path, "images", num_samples=3, quarantined=(0, 1, 2))
    with pytest.raises(StoreError, match="every sample is quarantined"):
        preview.run(store, tmp_path / "new" / "a.png")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a"])
def test_only_png_is_written(name: str, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: pictures are written as PNG; give a name that ends in \.png"):
        preview.run(pairs, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("num_writes", [0, 1])
def test_a_full_disk_leaves_no_picture_that_looks_finished(
    num_writes: int, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`preprocess` takes the picture for done when it is there, so it comes last and whole."""
    original, written = durable.write_bytes, []

    def write_bytes(path: Path, data: Any, **options: Any) -> None:
        if len(written) == num_writes:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        original(path, data, **options)

    monkeypatch.setattr(durable, "write_bytes", write_bytes)
    out = tmp_path / "a.png"
    with pytest.raises(OSError, match="No space left"):
        preview.run(pairs, out)
    assert not out.exists()
    assert written == [tmp_path / "a-animated.png"][:num_writes]
