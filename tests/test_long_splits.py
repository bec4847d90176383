"""Pieces of long recordings under every kind of split: a recording is on one side alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import succeed
from long_recordings import write_classes, write_gestures
from test_long_recordings import ALONE, WINDOWS
from tiny import write_config

from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages.sources import find_source

OFFICIAL = {"split": "official", "train": 0.8, "test": 0.1, "validation": 0.25}


@pytest.mark.parametrize(
    ("pairing", "frames"), [(OFFICIAL, {}), ({}, {}), ({}, {"windows": WINDOWS})], ids=["official", "whole", "windows"]
)
def test_a_recording_is_on_one_side(pairing: dict[str, Any], frames: dict[str, Any], tmp_path: Path) -> None:
    reader = find_source("segments")
    raw = tmp_path / "data" / "raw" / "long"
    if frames:
        write_classes(raw, 4)
    else:
        write_gestures(raw, 8)
    config = write_config(tmp_path, ALONE, pairing=pairing, frames=frames)
    made = succeed("--root", tmp_path, "preprocess", "--config", config, "--json").document
    path = Path(made["pairs"]["path"])
    store, side = PairStore(path), dict[str, str]()
    for split in ("train", "validation", "test"):
        rows = store.rows_of(split)
        assert len(rows)
        for sample_id in store.events.sample_id[rows]:
            assert side.setdefault(reader.group_of(str(sample_id)), split) == split
            if pairing:
                assert (reader.part_of(str(sample_id)) == "test") == (split == "test")
    audit = succeed("audit", path, "--out", tmp_path / "audit.png", "--json").document
    assert all(between["by_digest"] == 0 for between in audit["between"])
    assert audit["protocol"] == f"disjoint, {'official split, ' if pairing else ''}whole recordings"
