"""Pictures of stores: what is drawn, in which colours, and that a picture is there whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvs_transfer.cache import durable
from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages import pairing, preview
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.preview import PreviewSample, choose_samples, event_picture

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


def test_samples_are_shown_beside_their_own_photo(pairs: Path) -> None:
    store = PairStore(pairs)
    chosen = choose_samples(store.store, 28)
    assert [sample.title for sample in chosen] == store.events.sample_id[store.events.valid].tolist()
    for sample in chosen[:-1]:  # the last one's photo is quarantined
        row = np.array([list(store.images.sample_id).index(sample.title)])
        np.testing.assert_array_equal(sample.image, store.images.read("images", row)[0])
        np.testing.assert_array_equal(sample.value, store.images.read("value", row)[0])
        np.testing.assert_array_equal(sample.frames, store.events.read("frames", row)[0])
        assert sample.photo == "its own photo"
        assert sample.label == f"class {sample.title[:3]}, {sample.split}"
    for split in ("train", "validation", "test"):
        of_split = [sample.title for sample in chosen if sample.split == split]
        assert of_split == store.events.sample_id[store.rows_of(split)].tolist() != []


def test_a_recording_without_a_photo_is_shown_beside_one_of_its_class(pairs: Path) -> None:
    store = PairStore(pairs)
    lonely = choose_samples(store.store, 28)[-1]
    assert (lonely.title, lonely.photo) == ("cat/image_0029", "a photo of its class")
    of_class = np.flatnonzero(store.images.label == 2)
    assert any(np.array_equal(lonely.image, image) for image in store.images.read("images", of_class))


@pytest.mark.parametrize(("kind", "animated"), [("events", True), ("images", False), ("pairs", True)])
def test_pictures_are_valid_png(kind: str, animated: bool, pairs: Path, tmp_path: Path) -> None:
    store = pairs if kind == "pairs" else next(tmp_path.glob(f"toy-{kind}-*"))
    out = tmp_path / "neue Bilder" / "größer.png"
    assert preview.run(store, out, 3) == (out, *[out.with_name("größer-animated.png")] * animated)
    assert {path.name for path in out.parent.iterdir()} == {"größer.png", *(["größer-animated.png"] * animated)}
    for path in out.parent.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.n_frames == (3 if "animated" in path.name else 1)  # type: ignore[attr-defined]
            picture.load()


def test_every_picture_has_a_border_and_labels(tmp_path: Path) -> None:
    """Whites on white: without borders nothing of the three pictures could be seen."""
    empty = PreviewSample("ant/1", np.zeros((1, 2, 5, 5)), np.full((3, 5, 5), 255, np.uint8), np.ones((1, 5, 5)))
    for name, sample in {"bare": empty, "told": replace(empty, class_name="ant", split="test")}.items():
        preview.draw([sample], tmp_path / f"{name}.png")
    bare, told = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("bare", "told"))
    middle = bare[int(1.1 * 110)]  # a row of pixels through the pictures, at 110 to the inch
    edges = np.flatnonzero(np.diff((middle < 200).astype(int)) == 1)
    np.testing.assert_allclose(edges / 110, np.add.outer(np.arange(3) * 1.15, (0.04, 1.11)).ravel(), atol=0.02)
    changed = np.flatnonzero((bare != told).any(axis=1)) / 110
    assert 0.2 < changed.min() < changed.max() < 0.45  # inches from above: the second line


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    store = build_store(tmp_path, "images", num_samples=3, quarantined=(0, 1, 2))
    with pytest.raises(StoreError, match="every sample is quarantined"):
        preview.run(store, tmp_path / "new" / "a.png")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a.jpg", "a.txt", "a"])
def test_other_endings_are_refused(name: str, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"{name}: pictures are written as PNG, GIF or MP4, pages as HTML; give a name"
    ):
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
