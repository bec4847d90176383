"""Pictures that show the same are found, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from photo_stores import ids, scene, write_store
from PIL import Image

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.leakage import likeness
from dvs_transfer.stages.leakage.likeness import IMAGES_ALIKE, MAX_DISTANCE, describe, find_nearest

SCENES = np.array([scene(number) for number in range(40)])


def naive_hash(picture: NDArray[np.float64]) -> int:
    """dHash of a picture of 144 x 144 pixels, whose parts are whole pixels; the first comparison is the lowest bit."""
    thumbnail = picture.reshape(24, 6, 24, 6).mean((1, 3))
    lines = thumbnail.reshape(8, 3, 24).mean(1)
    columns = np.repeat(lines, 3, axis=1).reshape(8, 9, 8).mean(2)
    bits = [columns[y, x + 1] - columns[y, x] > 0.01 * np.ptp(thumbnail) for y in range(8) for x in range(8)]
    packed = np.packbits(bits)
    return int.from_bytes(packed.tobytes(), "little")


@pytest.mark.parametrize("number", range(20))
def test_the_hash_is_that_of_its_definition(number: int) -> None:
    picture = np.kron(np.random.default_rng(number).random((36, 36)), np.ones((4, 4)))
    assert int(describe(picture[None]).hashes[0]) == naive_hash(picture)


def resized(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Larger and smaller again, as a copy that somebody saved in another size."""
    image = Image.fromarray(np.uint8(255 * picture)).resize((61, 53), Image.Resampling.BILINEAR)
    return np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR)) / 255


COPIES = {
    "brighter": lambda picture: 0.7 * picture + 0.2,
    "noisy": lambda picture: picture + np.random.default_rng(0).normal(0, 0.02, picture.shape),
    "resized": resized,
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_found_among_others(copy: object) -> None:
    copies = describe(np.array([copy(picture) for picture in SCENES]))  # type: ignore[operator]
    nearest = find_nearest(copies, describe(SCENES))
    assert nearest.row.tolist() == list(range(len(SCENES)))
    assert nearest.same(0.95).all()


def test_others_are_no_copies() -> None:
    own = np.arange(len(SCENES))
    nearest = find_nearest(describe(SCENES), describe(SCENES), own)
    assert not np.any(nearest.row == own)
    assert not nearest.same(IMAGES_ALIKE).any()
    mirrored = find_nearest(describe(SCENES[:, :, ::-1]), describe(SCENES))
    assert not mirrored.same(IMAGES_ALIKE).any()


def test_even_pictures_are_one_where_their_brightness_is() -> None:
    """Rounding noise has no part in it: 0.3 and 0.7 are not exact in float32, nor are means over 35 pixels."""
    values = np.array([0, 0.3, 0.7, 0.3 + 2 / 255, 0.3 + 0.5 / 255], np.float32)
    even = describe(np.array([np.full((35, 35), value) for value in values]))
    expected = np.abs(values[:, None].astype(np.float64) - values) <= 1 / 255
    pairs = ((one, other) for one in range(5) for other in range(5))
    found = [bool(find_nearest(even.at([one]), even.at([other])).same(IMAGES_ALIKE)[0]) for one, other in pairs]
    assert found == expected.ravel().tolist()
    assert not find_nearest(even, describe(SCENES)).same(0.01).any()
    others = np.arange(5)
    assert find_nearest(even, even, others).same(IMAGES_ALIKE).tolist() == [False, True, False, False, True]


@given(st.integers(1, 6), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_the_nearest_is_that_of_a_search(num_of: int, num_among: int, seed: int) -> None:
    """Among the ones within `MAX_DISTANCE`, or else of the smallest distance, the best correlated."""
    rng = np.random.default_rng(seed)
    base = rng.random((3, 24, 24))
    of, among = (
        describe(base[rng.integers(0, 3, n)] + rng.normal(0, 0.2, (n, 24, 24)))
        if n
        else describe(np.zeros((0, 24, 24)))
        for n in (num_of, num_among)
    )
    own = rng.integers(-1, num_among, num_of) if num_among else np.full(num_of, -1)
    found = find_nearest(of, among, own)
    for at in range(num_of):
        others = [other for other in range(num_among) if other != own[at]]
        if not others:
            assert found.row[at] == -1
            assert not found.same(0)[at]
            continue
        apart = {other: bin(int(of.hashes[at]) ^ int(among.hashes[other])).count("1") for other in others}
        near = [other for other in others if apart[other] <= max(MAX_DISTANCE, min(apart.values()))]
        alike = {other: float(of.thumbnails[at] @ among.thumbnails[other]) for other in near}
        assert found.correlation[at] == pytest.approx(max(alike.values()), abs=1e-5)
        assert found.distance[at] == apart[int(found.row[at])]


def test_many_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_nearest(describe(SCENES), describe(SCENES[::-1]))
    monkeypatch.setattr(likeness, "_COMPARED", 100)
    parts = find_nearest(describe(SCENES), describe(SCENES[::-1]))
    assert whole.row.tolist() == parts.row.tolist() == list(range(len(SCENES)))[::-1]


def test_stores_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ids(("cat", "dog"), [str(number) for number in range(4)])
    pictures = {name: scene(number) for number, name in enumerate(names)}
    stores = [FrameStore(write_store(tmp_path, kind, names, pictures=pictures)) for kind in ("events", "images")]
    monkeypatch.setattr(likeness, "_READ_SAMPLES", 3)
    rows = np.array([6, 0, 3, 5])
    recordings, images = likeness.pictures_of(stores[0], rows), likeness.pictures_of(stores[1], rows)
    expected = describe(np.array([scene(row) for row in rows]))
    assert images.hashes.tolist() == expected.hashes.tolist()
    np.testing.assert_allclose(images.thumbnails, expected.thumbnails, atol=1e-4)
    roots = describe(np.sqrt([80 * scene(row) for row in rows]))
    np.testing.assert_allclose(recordings.thumbnails, roots.thumbnails, atol=1e-2)
