"""The gallery page: what its file holds, decoded without a browser; nothing to load; names stay names."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from gallery_page import HOSTILE, Gallery, build_pairs
from numpy.typing import NDArray

from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.stages import pairing, preview
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.preview.gallery import TEMPLATES, to_levels

from stores import build_store, make_columns, make_layout


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return build_pairs(tmp_path)


def make_gallery(store: Path, out: Path, *options: object) -> Gallery:
    (written,) = preview.run(store, out, *options)  # type: ignore[arg-type]
    assert written == out
    return Gallery(out)


def test_the_page_holds_the_frames_of_the_store(pairs: Path, tmp_path: Path) -> None:
    gallery, store = make_gallery(pairs, tmp_path / "neu" / "Seite.html"), PairStore(pairs)
    valid = np.flatnonzero(store.events.valid)
    assert list(gallery.recordings) == store.events.sample_id[valid].tolist()
    frames = store.events.read("frames", valid).astype(np.float64)
    for (sample_id, recording), counts in zip(gallery.recordings.items(), frames, strict=True):
        assert recording["step"] == 1  # the store's counts are whole, and below 256
        np.testing.assert_array_equal(gallery.levels(sample_id), counts)
        assert recording["full"] == pytest.approx(np.percentile(counts[counts > 0], 95))


def test_the_page_says_what_the_store_says(pairs: Path, tmp_path: Path) -> None:
    gallery, store = make_gallery(pairs, tmp_path / "a.htm"), PairStore(pairs)
    for split in ("train", "validation", "test"):
        shown = [name for name, recording in gallery.recordings.items() if recording["split"] == split]
        assert shown == store.events.sample_id[store.rows_of(split)].tolist() != []
    for sample_id, recording in gallery.recordings.items():
        assert recording["class"] == sample_id.partition("/")[0]
        assert recording["named"] is None
        photo, pixels = gallery.photo(sample_id)
        own = sample_id != "cat/image_0029"  # whose photo cannot be read
        assert (recording["whose"], photo == sample_id) == (
            ("its own photo", True) if own else ("a photo of its class", False)
        )
        assert photo.partition("/")[0] == recording["class"]
        (row,) = np.flatnonzero(store.images.sample_id == photo)
        image = np.moveaxis(store.images.read("images", np.array([row]))[0], 0, -1)
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(float).mean() - image.mean()) < 8  # noise of six pixels a side, after WebP
    assert "28 of 28 recordings" in gallery.page.text
    assert "named" in gallery.page.text


def test_recordings_without_images_or_split(tmp_path: Path) -> None:
    events = build_store(tmp_path, "events")
    alone = make_gallery(events, tmp_path / "a.html", 7)
    assert len(alone.recordings) == 7
    assert alone.document["photos"] == []
    assert {(entry["split"], entry["photo"]) for entry in alone.recordings.values()} == {("", None)}
    assert "7 of 30 recordings" in " ".join(alone.page.text.split())
    split = make_gallery(pairing.run(PairingConfig(), events, None, tmp_path).path, tmp_path / "b.html")
    assert {(entry["split"], entry["photo"]) for entry in split.recordings.values()} >= {
        ("train", None),
        ("test", None),
    }


@pytest.mark.parametrize(
    ("counts", "step"),
    [
        ([[0, 1], [7, 255]], 1),
        ([[0, 0], [0, 0]], 1),
        ([[0, 0.5], [2.25, 10]], 10 / 255),
        ([[0, 1], [7, 256]], 256 / 255),
        ([[0.001, 0], [0, 0]], 0.001 / 255),
    ],
)
def test_levels_are_right_to_half_a_level(counts: list[list[float]], step: float) -> None:
    levels, found = to_levels(np.array(counts))
    assert found == pytest.approx(step)
    error = np.abs(levels * found - counts)
    assert error.max() <= (0 if step == 1 else found / 2 * (1 + 1e-9))


def test_the_page_is_the_same_for_every_call(pairs: Path, tmp_path: Path) -> None:
    first, again = (make_gallery(pairs, tmp_path / name, 9) for name in ("a.html", "b.html"))
    assert first.page.content == again.page.content
    assert len(first.recordings) == 9


def test_nothing_is_loaded_and_nothing_else_may_run(pairs: Path, tmp_path: Path) -> None:
    gallery = make_gallery(pairs, tmp_path / "a.html")
    page = gallery.page
    assert page.loaded == []
    (policy,) = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", page.content, re.DOTALL)
    for text, rule in ((gallery.scripts[1], rules.pop("script-src")), (style, rules.pop("style-src"))):
        assert rule == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert [tag for tag, found in page.tags if any(key.startswith("on") or key == "style" for key in found)] == []


def test_names_stay_names(tmp_path: Path) -> None:
    pairs = build_pairs(tmp_path, class_names=HOSTILE)
    plain = make_gallery(build_pairs(tmp_path / "plain"), tmp_path / "plain.html")
    named = preview.Named("</script><b>", dict.fromkeys(PairStore(pairs).events.sample_id.tolist(), "<b>/&"))
    gallery = make_gallery(pairs, tmp_path / "a.html", None, named)
    assert {recording["class"] for recording in gallery.recordings.values()} == set(HOSTILE)
    assert {recording["named"] for recording in gallery.recordings.values()} == {"<b>/&"}
    tags = [tag for tag, _ in gallery.page.tags]
    assert [tag for tag in tags if tag in ("script", "b", "img")] == [
        tag for tag, _ in plain.page.tags if tag in ("script", "b", "img")
    ]
    assert "</script><b>" in gallery.page.text


def test_with_a_run_only_what_it_named_is_shown(pairs: Path, tmp_path: Path) -> None:
    store = PairStore(pairs)
    ids = store.events.sample_id[store.rows_of("test")].tolist()
    gallery = make_gallery(pairs, tmp_path / "a.html", None, preview.Named("run-7", dict.fromkeys(ids, "ant")))
    assert {name: recording["named"] for name, recording in gallery.recordings.items()} == dict.fromkeys(ids, "ant")
    assert f"{len(ids)} of {len(ids)} recordings of {pairs.name} that the run run-7 was evaluated on" in " ".join(
        gallery.page.text.split()
    )
    with pytest.raises(StoreError, match="none of the recordings that were named can be read"):
        preview.run(pairs, tmp_path / "b.html", named=preview.Named("run-7", {"other/1": "ant"}))
    with pytest.raises(ConfigError, match="what a run named is shown on pages alone"):
        preview.run(pairs, tmp_path / "b.png", named=preview.Named("run-7", {}))


@pytest.mark.slow
def test_three_hundred_recordings_have_fewer_than_15_mb(tmp_path: Path) -> None:
    """Of 10 bins of 48 x 48 pixels, four tenths of which saw events, as densely as recordings of real photos did."""
    rng, num_samples = np.random.default_rng(0), 300
    paths = []
    for kind, size in (("events", 48), ("images", 144)):
        layout = make_layout(kind, num_samples, samples_per_shard=50, size=size, num_bins=10)
        builder = StoreBuilder(tmp_path, layout)
        for shard in builder.begin():
            rows = layout.rows_of(shard)
            shape = (len(rows), 10, 2, 48, 48)
            arrays = {"frames": (rng.gamma(1, 1, shape) * (rng.random(shape) < 0.4)).astype(np.float16)}
            if kind == "images":
                image = smooth(rng, len(rows))
                arrays = {"images": np.repeat(image, 3, axis=1), "value": (image / 255).astype(np.float32)}
            builder.write_shard(shard, arrays, [{"row": row} for row in rows])
        paths.append(builder.finish(make_columns(layout), "the manifest"))
    gallery = make_gallery(pairing.run(PairingConfig(), *paths, tmp_path).path, tmp_path / "a.html")
    assert len(gallery.recordings) == len(gallery.document["photos"]) == num_samples
    assert gallery.path.stat().st_size < 15_000_000
    frames = FrameStore(paths[0]).read("frames")
    for sample_id, counts in zip(gallery.recordings, frames, strict=True):
        step = gallery.recordings[sample_id]["step"]
        assert np.abs(gallery.levels(sample_id) * step - counts).max() <= step / 2 * (1 + 1e-9)


def smooth(rng: np.random.Generator, num: int) -> NDArray[np.uint8]:
    """(num, 1, 144, 144) photo-like: coarse shapes and some noise."""
    coarse = np.kron(rng.integers(40, 200, (num, 1, 12, 12)), np.ones((12, 12)))
    return (coarse + rng.integers(-8, 9, (num, 1, 144, 144))).astype(np.uint8)


# Sight without one kind of cones, Machado, Oliveira and Fernandes 2009, of linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear sRGB."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    x = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_of_polarities_are_far_apart_for_every_eye(sight: str) -> None:
    """In both themes, and far from the paper."""
    style = (TEMPLATES / "gallery.css").read_text()
    themes = re.findall(r"--paper: (#\w{6}); --on: (#\w{6}); --off: (#\w{6});", style)
    assert len(themes) == 2
    for colours in themes:
        encoded = [np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255 for colour in colours]
        linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in encoded]
        paper, on, off = (to_lab(np.array(SIGHT[sight]) @ c) for c in linear)
        assert min(np.linalg.norm(on - off), np.linalg.norm(on - paper), np.linalg.norm(off - paper)) > 50
