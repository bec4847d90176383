"""A store is whole or it is not there; what is finished is not written again; the bytes are always the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from dvs_transfer.cache import durable
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.writer import StoreBuilder

from stores import build_store, make_arrays, make_columns, make_layout, write_shards


def chunk_bytes(store: Path) -> dict[str, bytes]:
    """Every file but the root's metadata, which carries the time of writing."""
    files = {path.relative_to(store).as_posix(): path for path in store.rglob("*") if path.is_file()}
    return {key: path.read_bytes() for key, path in files.items() if key != "zarr.json"}


def test_what_was_written_is_read_back_by_plain_zarr(tmp_path: Path) -> None:
    path = build_store(tmp_path, "events", 30)
    group = zarr.open_group(path, mode="r")
    expected = make_arrays(make_layout("events", 30))["frames"]
    np.testing.assert_array_equal(group["frames"][...], expected)
    assert group["frames"].metadata.dimension_names == ("sample", "time", "polarity", "y", "x")
    assert group["label"][...].tolist() == make_columns(make_layout("events", 30))["label"].tolist()
    assert group.attrs["schema_version"] == 1
    assert group.attrs["class_names"] == ["ant", "bee", "cat"]


def test_shards_in_any_order_give_the_same_bytes(tmp_path: Path) -> None:
    first = build_store(tmp_path / "a", "images", 30)
    builder = StoreBuilder(tmp_path / "b", make_layout("images", 30))
    write_shards(builder, builder.begin()[::-1])
    second = builder.finish(make_columns(builder.layout), "the manifest")
    assert chunk_bytes(first) == chunk_bytes(second)
    assert FrameStore(first).attributes.seal == FrameStore(second).attributes.seal


def test_a_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 30))
    assert builder.begin() == list(range(8))
    write_shards(builder, [0, 3])
    leftover = builder.partial / "store" / "frames" / "c" / f"5.ab{durable.TEMPORARY_SUFFIX}"
    leftover.write_bytes(b"half")
    written = {path: path.stat().st_mtime_ns for path in builder.partial.rglob("c/*/0/0/0/0")}
    again = StoreBuilder(tmp_path, make_layout("events", 30))
    assert again.begin() == [1, 2, 4, 5, 6, 7]
    assert not leftover.exists()
    write_shards(again, [1, 2, 4, 5, 6, 7])
    assert {path: path.stat().st_mtime_ns for path in written} == written
    path = again.finish(make_columns(again.layout), "the manifest")
    assert chunk_bytes(path) == chunk_bytes(build_store(tmp_path / "undisturbed", "events", 30))
    assert not again.partial.exists()


def test_a_shard_that_lost_its_file_is_written_again(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 30))
    builder.begin()
    write_shards(builder, [0, 1])
    shutil.rmtree(builder.partial / "store" / "frames" / "c" / "1")
    assert 1 in builder.begin()
    assert 0 not in builder.begin()


def test_a_shard_that_a_power_cut_garbled_is_written_again(tmp_path: Path) -> None:
    """Data are not flushed before the record is: a file of the right length may hold zeros, a record nothing at all."""
    builder = StoreBuilder(tmp_path, make_layout("events", 30))
    builder.begin()
    write_shards(builder, [0, 1, 2])
    data = builder.partial / "store" / "frames" / "c" / "1" / "0" / "0" / "0" / "0"
    data.write_bytes(bytes(data.stat().st_size))
    (builder.partial / "shards" / "000002.json").write_bytes(b"")
    assert builder.begin() == [1, 2, 3, 4, 5, 6, 7]


def test_finish_refuses_and_names_the_missing_shards(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 30))
    builder.begin()
    write_shards(builder, [0, 1, 3, 4, 5, 6])
    with pytest.raises(StoreError, match=r"2 of 8 shards are not there yet \(2, 7\)"):
        builder.finish(make_columns(builder.layout), "the manifest")
    assert not list(tmp_path.glob("*.zarr"))


def test_another_layout_starts_anew(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 30))
    builder.begin()
    write_shards(builder, [0])
    other = make_layout("events", 30, samples_per_shard=5)  # the same name, other shards
    assert other.name == builder.layout.name
    assert StoreBuilder(tmp_path, other).begin() == list(range(6))


def test_wrong_shapes_and_row_counts_are_refused(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path, make_layout("events", 6))
    builder.begin()
    frames = make_arrays(builder.layout)["frames"]
    with pytest.raises(StoreError, match="4 samples, got 3 rows"):
        builder.write_shard(0, {"frames": frames[:4]}, [{}] * 3)
    with pytest.raises(StoreError, match=r"must be \(4, 3, 2, 6, 6\) float16, got \(4, 3, 2, 6, 6\) float64"):
        builder.write_shard(0, {"frames": frames[:4].astype(np.float64)}, [{}] * 4)
    with pytest.raises(StoreError, match="got \\(3, 3, 2, 6, 6\\)"):
        builder.write_shard(0, {"frames": frames[:3]}, [{}] * 4)
    write_shards(builder, [0, 1])
    with pytest.raises(StoreError, match="column label has 5 rows, not 6"):
        builder.finish({**make_columns(builder.layout), "label": np.zeros(5, np.int64)}, "the manifest")


def test_a_failing_write_leaves_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_from: Path, _to: Path) -> None:
        raise OSError(28, "No space left on device")

    builder = StoreBuilder(tmp_path, make_layout("events", 6))
    builder.begin()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_shards(builder, [0])
    assert "frames" in str(caught.value.filename)
    assert not list(tmp_path.rglob(f"*{durable.TEMPORARY_SUFFIX}"))
    monkeypatch.undo()
    assert builder.begin() == [0, 1]
