"""Fault 8: labels that are none, arrays of another shape, classes that differ: refused, naming the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refuse
from fault_injection import Tally
from raw_data import config, convert, write_raw_data

from dvs_transfer.cache.errors import SourceError, StoreError
from dvs_transfer.cache.store import list_stores
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.stages import pairing
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.sources.base import Sample
from dvs_transfer.stages.sources.caltech import NCaltech101

from stores import build_store, make_arrays, make_columns, make_layout, write_shards

BAD_LABELS = [float("nan"), -1, 2, None, 0.5, np.int64(0), "ant"]


@pytest.mark.parametrize("label", BAD_LABELS)
def test_a_source_with_such_a_label_converts_nothing(
    label: Any, tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = NCaltech101.list_samples

    def index(self: NCaltech101) -> Any:
        names, samples = original(self)
        return names, (*samples[:3], Sample("ant/image_0004", label, "image_0004.bin"), *samples[4:])

    raw = write_raw_data(tmp_path / "raw")
    monkeypatch.setattr(NCaltech101, "list_samples", index)
    with tally.attempt(), pytest.raises(SourceError, match=r"^image_0004\.bin: label .* of ant/image_0004, expected"):
        conversion.run(config(raw, tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("row", "label", "problem"),
    [
        (5, float("nan"), ""),
        (5, -1, ""),
        (5, -2, ""),
        (5, 3, ""),
        (5, 0.5, ""),
        (5, 1, "broken, but labelled"),
        (0, 0.0, ""),
    ],
)
def test_a_store_is_not_finished_with_such_a_label(
    row: int, label: Any, problem: str, tally: Tally, tmp_path: Path
) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 6))
    write_shards(builder, builder.begin())
    columns = make_columns(builder.layout)
    columns["label"] = columns["label"].astype(type(label))
    columns["label"][row], columns["problem"][row] = label, problem
    with tally.attempt(), pytest.raises(StoreError, match=f"label .* of sample {columns['sample_id'][row]}; expected"):
        builder.finish(columns, "the manifest")
    assert not list_stores(tmp_path)
    assert not list(builder.partial.glob("store/*/zarr.json"))


@pytest.mark.parametrize("name", ["label", "sample_id", "problem"])
def test_a_store_is_not_finished_without_a_column(name: str, tally: Tally, tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("images", 6))
    write_shards(builder, builder.begin())
    columns = make_columns(builder.layout)
    del columns[name]
    with tally.attempt(), pytest.raises(StoreError, match=f"the column {name} is missing"):
        builder.finish(columns, "the manifest")
    assert not list_stores(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: frames.astype(np.float64),
        lambda frames: frames.astype(np.int16),
        lambda frames: frames[:, :2],
        lambda frames: frames[..., :5],
        lambda frames: frames[:3],
        lambda frames: frames.reshape(4, -1),
    ],
)
def test_arrays_of_another_shape_or_dtype_are_not_written(change: Any, tally: Tally, tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 6))
    builder.begin()
    frames = change(make_arrays(builder.layout)["frames"][:4])
    with tally.attempt(), pytest.raises(StoreError, match=r"shard 0 of frames must be .* got "):
        builder.write_shard(0, {"frames": frames}, [{}] * 4)
    assert not [path for path in builder.partial.rglob("*") if path.is_file() and path.name != "layout.json"]


def test_classes_that_differ_are_not_paired(tally: Tally, tmp_path: Path) -> None:
    events = build_store(tmp_path, "events", class_names=("ant", "bee", "cat"))
    images = build_store(tmp_path, "images", class_names=("ant", "bee", "dog"))
    before = sorted(tmp_path.iterdir())
    with tally.attempt(), pytest.raises(StoreError, match=r"cat.*dog|dog.*cat"):
        pairing.run(PairingConfig(), events, images, tmp_path)
    with tally.attempt():
        refuse("pair", events, images, code=1, says=["cat", "dog"])
    assert sorted(tmp_path.iterdir()) == before


def test_a_recording_without_events_is_named(tally: Tally, tmp_path: Path) -> None:
    raw = write_raw_data(tmp_path / "raw")
    path = raw / "events" / "Caltech101" / "bee" / "image_0002.bin"
    path.write_bytes(bytes([0, 240, 0, 0, 0] * 3))
    with tally.attempt():
        quarantined = convert(raw, tmp_path / "cache").quarantined
        assert list(quarantined) == ["bee/image_0002"]
        assert quarantined["bee/image_0002"].startswith(f"{path}: 3 records and no event among them")
    with tally.attempt(), pytest.raises(SourceError, match=r"bee/image_0002\.bin: 3 records and no event"):
        convert(raw, tmp_path / "strict", conversion={"samples_per_shard": 4, "strict": True})
    assert not list_stores(tmp_path / "strict")
