"""The one tiny configuration: small frames, a small network, a moment's training; and the workspaces that it describes.

`TINY` is all sections; a test that needs another value names it where it needs it: `write_config(folder, DEMO,
train={"epochs": 40})`. In-memory counterparts: `tiny_split` (data), `tiny_networks` (untrained), `tiny_run` (trained).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from command_line import succeed
from raw_data import contents, write_raw_data

from dvs_transfer.cache.store import FrameStore, list_stores
from dvs_transfer.cache.verify import verify_store

Sections = Mapping[str, Any]

TINY: Sections = {
    "name": "tiny",
    "frames": {"num_bins": 3, "size": 16},
    "conversion": {"samples_per_shard": 4},
    "pairing": {"train": 0.6, "validation": 0.2, "test": 0.2},
    "model": {"widths": [4, "P", 8, "P"]},
    "train": {"epochs": 2, "batch_size": 10, "warmup_epochs": 1, "threads": 1},
}
RAW: Sections = {
    "events": {"source": "ncaltech101", "raw": "events"},
    "images": {"source": "caltech101", "raw": "images"},
}
"""The data of `write_raw_data`."""
DEMO: Sections = {
    "demo": {
        "out": "demo",
        "images_per_class": 5,
        "pairs_per_class": 1,
        "simulation": {"sensor_width": 64, "sensor_height": 48},
    },
    "events": {"source": "ncaltech101", "raw": "demo/N-Caltech101"},
    "images": {"source": "caltech101", "raw": "demo/Caltech101"},
}
"""Drawn data: 10 classes, 50 recordings and photos."""
EVERY_STEP: Sections = {
    "train": {
        "epochs": 3,
        "batch_size": 3,
        "deterministic": True,
        "log_interval": 1,
        "checkpoint_steps": 1,
        "keep_checkpoints": 3,
    }
}
"""Checkpoints as often as can be, of a run that gives the same bits again."""


# The configuration ----------------------------------------------------------------------------------------------------


def merged(*parts: Sections, **sections: Any) -> dict[str, Any]:
    """The parts and sections laid over each other, the last on top."""
    result: dict[str, Any] = {}
    for part in (*parts, sections):
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


def to_toml(document: Sections) -> str:
    """A line `section.key = value` for each value; JSON's strings, numbers, booleans and lists are TOML's."""

    def lines(part: Sections, prefix: str) -> Iterator[str]:
        for key, value in part.items():
            if isinstance(value, Mapping):
                yield from lines(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key} = {json.dumps(value)}\n"

    return "".join(lines(document, ""))


def write_config(folder: Path, *parts: Sections, **sections: Any) -> Path:
    """`folder/tiny.toml`: the tiny configuration with these parts and sections laid over it."""
    path = folder / "tiny.toml"
    path.write_text(to_toml(merged(TINY, *parts, sections)))
    return path


# Workspaces -----------------------------------------------------------------------------------------------------------


def make_workspace(root: Path, *parts: Sections, demo: bool = False) -> Path:
    """A configuration file, and the raw data that it names unless it draws the demo's; returns `root`."""
    root.mkdir(parents=True)
    write_config(root, DEMO if demo else RAW, *parts)
    if not demo:
        write_raw_data(root / "data" / "raw")
    return root


def make_trainable(root: Path) -> Path:
    """A preprocessed workspace whose training takes a second and leaves a checkpoint at each step; returns `root`."""
    succeed(*preprocess(make_workspace(root, EVERY_STEP)))
    return root


def preprocess(root: Path, *options: str) -> list[str]:
    """The arguments of `dvs-transfer` that preprocess a workspace."""
    return ["--quiet", "--root", str(root), "preprocess", "--config", str(root / "tiny.toml"), *options]


def train_command(root: Path, run: Path, *options: str) -> list[str | Path]:
    """The arguments of `dvs-transfer` that train in the folder `run`."""
    return ["--quiet", "--root", root, "train", "--config", root / "tiny.toml", "--run", run, *options]


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


# What they must come to -----------------------------------------------------------------------------------------------


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


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the timing, which is nobody's to repeat."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("pairs_per_s", "data_share")} for line in lines]


def assert_same_run(found: Path, expected: Path) -> None:
    """The same losses and weights, bit for bit, and no temporary file."""
    assert metrics_of(found) == metrics_of(expected)
    for name in ("best", "last"):
        path = Path("checkpoints", f"{name}.safetensors")
        assert (found / path).read_bytes() == (expected / path).read_bytes()
    assert not list(found.rglob("*.tmp"))
