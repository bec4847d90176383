"""The released code's split, on stores so small that its counts are known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import succeed
from photo_stores import ids, write_store

from dvs_transfer.benchmarks import released_split
from dvs_transfer.benchmarks.released_split import shuffled
from dvs_transfer.cache.store import FrameStore

CLASSES = ("Faces_easy", "ant")
STEMS = [f"image_{number:04d}" for number in range(1, 21)]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    names = ids(CLASSES, STEMS)
    return (
        write_store(tmp_path, "events", names, "ncaltech101"),
        write_store(tmp_path, "images", names, "caltech101"),
    )


def test_sorted_listings_leak_one_photo_a_class_and_reversed_ones_everything(stores: tuple[Path, Path]) -> None:
    events, images = map(FrameStore, stores)
    in_order = released_split.released_split(events, images, lambda class_name, stems: stems)
    assert [str(events.sample_id[row]) for row in in_order.rows["test"]] == ids(CLASSES, STEMS[18:])
    assert [str(images.sample_id[row]) for row in in_order.pool_rows] == ids(CLASSES, STEMS[:19])
    assert len(in_order.rows["train"]) == 36
    photos = in_order.originals.rows[in_order.rows["test"]]
    assert np.isin(photos, in_order.pool_rows).tolist() == [True, False] * 2
    backwards = released_split.released_split(events, images, lambda class_name, stems: stems[::-1])
    assert [str(events.sample_id[row]) for row in backwards.rows["test"]] == ids(CLASSES, STEMS[:2])
    assert set(backwards.originals.rows[backwards.rows["test"]]) <= set(backwards.pool_rows)


def test_random_orders_are_those_of_their_seed() -> None:
    first, again, other = (shuffled(seed)("ant", STEMS) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == STEMS


def test_the_command_counts_each_listing(
    stores: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose listing comes backwards has every test recording's photo in the pool."""
    monkeypatch.setattr(os, "walk", lambda folder: [(folder, [], ["notes.txt", *(f"{s}.bin" for s in STEMS[::-1])])])
    out = tmp_path / "released.json"
    told = succeed("bench", "released-split", *stores, "--folder", tmp_path, "--seeds", "3", "--json", out).out
    report = json.loads(out.read_text())
    assert list(report["listings"]) == ["sorted", "as os.walk gives it here", "random, seed 0"]
    assert [entry["by_id"] for entry in report["listings"].values()] == [2, 4, report["random"][0]]
    assert {entry["num_recordings"] for entry in report["listings"].values()} == {4}
    assert len(report["random"]) == 3
    assert report["random_orders"]["mean"] == np.mean(report["random"])
    assert f"most: {max(report['random'])}" in told
