"""A damaged store is repaired from its raw data: just what failed, with the bytes that were there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import refuse, succeed
from raw_data import contents, convert

from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.stages.conversion import repair, shards


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "truncated", "deleted"])
@pytest.mark.parametrize(
    ("source", "key", "num_shards"),
    [
        ("ncaltech101", "frames/c/2/0/0/0/0", 1),
        ("caltech101", "value/c/0/0/0/0", 1),
        ("ncaltech101", "label/c/0", 4),
        ("ncaltech101", "frames/zarr.json", 4),
    ],
)
def test_what_failed_is_made_again(
    source: str, key: str, num_shards: int, how: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = convert(raw, tmp_path / "cache", source).path
    before, times = contents(store), {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    converted = []
    original = shards.convert_shard
    monkeypatch.setattr(shards, "convert_shard", lambda task: converted.append(task.shard) or original(task))
    damage(store / key, how)
    assert list(verify_store(store).bad) == [key]
    report = repair.run(store, raw / ("events" if source == "ncaltech101" else "images"))
    assert (report.repaired, report.removed, report.num_shards) == ((key,), (), num_shards)
    assert contents(store) == before
    assert verify_store(store).is_whole
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {store / key}
    if num_shards == 1:
        assert converted == [int(key.split("/")[2])]
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_a_whole_store_is_left_alone_and_foreign_files_go(raw: Path, tmp_path: Path) -> None:
    store = convert(raw, tmp_path).path
    assert repair.run(store, raw / "events").repaired == ()
    (store / "frames" / "c" / "9").write_bytes(b"no shard")
    report = repair.run(store, tmp_path / "no raw data are needed")
    assert (report.repaired, report.removed) == ((), ("frames/c/9",))
    assert verify_store(store).is_whole


def test_raw_data_that_changed_repair_nothing(raw: Path, tmp_path: Path) -> None:
    store = convert(raw, tmp_path / "cache").path
    damage(store / "frames/c/0/0/0/0/0", "flipped")
    damaged = contents(store)
    first = sorted((raw / "events").rglob("*.bin"))[0]
    kept = first.read_bytes()
    first.write_bytes(kept[:5000])
    with pytest.raises(StoreError, match=r"comes out otherwise than it was recorded: raw files in .* have changed"):
        repair.run(store, raw / "events")
    first.unlink()
    with pytest.raises(StoreError, match="holds other samples than the store was made of"):
        repair.run(store, raw / "events")
    assert contents(store) == damaged
    first.write_bytes(kept)
    assert repair.run(store, raw / "events").repaired == ("frames/c/0/0/0/0/0",)
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_attributes_cannot_be_repaired(raw: Path, tmp_path: Path) -> None:
    store = convert(raw, tmp_path).path
    damage(store / "zarr.json", "truncated")
    with pytest.raises(StoreError, match="make the store again"):
        repair.run(store, raw / "events")


def test_the_command(raw: Path, tmp_path: Path) -> None:
    store = convert(raw, tmp_path / "data" / "cache").path
    damage(store / "frames/c/1/0/0/0/0", "flipped")
    refuse("--root", tmp_path, "cache", "repair", store, code=1, says=[f"{store}: no configuration", "--raw PATH"])
    done = succeed("--quiet", "--root", tmp_path, "cache", "repair", store, "--raw", raw / "events", "--json").document
    assert done["repaired"] == ["frames/c/1/0/0/0/0"]
    succeed("cache", "verify", store)
