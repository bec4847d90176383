"""A workspace whose `preprocess` takes a moment, and what it must come to whatever happened on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from raw_data import contents, write_raw_data

from dvs_transfer.cache.store import FrameStore, list_stores
from dvs_transfer.cache.verify import verify_store

COMMON = """
name = "tiny"

[frames]
num_bins = 3
size = 16

[conversion]
samples_per_shard = 4

[pairing]
train = 0.6
validation = 0.2
test = 0.2
"""
RAW = """
[events]
source = "ncaltech101"
raw = "events"

[images]
source = "caltech101"
raw = "images"
"""
DEMO = """
[demo]
out = "demo"
images_per_class = 5
pairs_per_class = 1

[demo.simulation]
sensor_width = 64
sensor_height = 48

[events]
source = "ncaltech101"
raw = "demo/N-Caltech101"

[images]
source = "caltech101"
raw = "demo/Caltech101"
"""


def make_workspace(root: Path, *, demo: bool = False) -> Path:
    """A configuration file, and the raw data that it names unless it draws the demo's; returns `root`."""
    root.mkdir(parents=True)
    (root / "tiny.toml").write_text(COMMON + (DEMO if demo else RAW))
    if not demo:
        write_raw_data(root / "data" / "raw")
    return root


def preprocess(root: Path, *options: str) -> list[str]:
    """The arguments of `dvs-transfer` that preprocess a workspace."""
    return ["--quiet", "--root", str(root), "preprocess", "--config", str(root / "tiny.toml"), *options]


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def assert_stores_are_whole(root: Path) -> None:
    """Nothing with a store's name is half built."""
    for path in list_stores(root / "data" / "cache"):
        FrameStore(path)
        assert verify_store(path).is_whole


def assert_same(found: Path, expected: Path) -> None:
    """Two workspaces hold the same files (so no temporary ones), the same raw data, and the same stores."""
    assert files_below(found) == files_below(expected)
    assert contents(found / "data" / "raw") == contents(expected / "data" / "raw")
    for path in list_stores(expected / "data" / "cache"):
        assert_same_store(found / "data" / "cache" / path.name, path)


def assert_same_store(found: Path, expected: Path) -> None:
    """The same manifest and digests (sealed), bytes, and decoded values."""
    ours, theirs = FrameStore(found), FrameStore(expected)
    assert ours.attributes.manifest_digest == theirs.attributes.manifest_digest
    assert ours.attributes.files == theirs.attributes.files
    assert ours.attributes.seal == theirs.attributes.seal
    assert contents(found) == contents(expected)
    for name in {key.split("/")[0] for key in theirs.attributes.files}:
        np.testing.assert_array_equal(ours.read(name), theirs.read(name))
