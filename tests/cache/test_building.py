"""A build of objects that ends anywhere leaves nothing that is taken for a store, and goes on to the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_server import KilledError, MemoryFaults

from dvs_transfer.cache import building
from dvs_transfer.cache.errors import AddressError, StoreError
from dvs_transfer.cache.places import entries, exists, object_sizes, place
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.cache.writer import StoreBuilder

from stores import build_store, make_arrays, make_columns, make_layout, store_path, write_shards


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An address in memory, where nothing is yet."""
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "shards"))
    return place(f"memory://{tmp_path.name}/caches")


@pytest.mark.parametrize("kind", ["events", "images"])
def test_the_store_is_the_local_one(kind: str, folder: Path, tmp_path: Path) -> None:
    ours, theirs = FrameStore(build_store(folder, kind)), FrameStore(build_store(tmp_path, kind))
    assert ours.path.name == theirs.path.name
    assert ours.attributes.files == theirs.attributes.files
    assert ours.attributes.seal == theirs.attributes.seal
    assert verify_store(ours.path).is_whole
    assert entries(folder) == {ours.path.name: True}


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        (KilledError(), True),
        (OSError(5, "Input/output error"), False),
        (PermissionError(13, "the token expired"), True),
    ],
    ids=["killed", "one error", "refused from then on"],
)
def test_a_build_that_ends_at_any_operation_goes_on_to_the_same_store(
    error: BaseException, lasts: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, faults = FrameStore(build_store(tmp_path, "events", 12)), MemoryFaults(monkeypatch)
    build_store(folder / "counted", "events", 12)
    total = faults.count
    assert total > 40
    ended, messages = 0, list[str]()
    for number in range(1, total + 1):
        out = folder / str(number)
        faults.fail(number, error, lasts)
        try:
            build_store(out, "events", 12)
        except KilledError:
            ended += 1
        except AddressError as told:
            ended += 1
            messages.append(str(told).replace(f"{out}/", "OUT "))
        faults.heal()
        final = store_path(out, make_layout("events", 12))
        if exists(final / "zarr.json"):
            StoreBuilder(out, make_layout("events", 12)).discard()  # as `once` does of what it finds whole
        else:
            with pytest.raises(StoreError, match=r"not whole|no such store"):
                FrameStore(final)
            assert build_store(out, "events", 12) == final
        assert FrameStore(final).attributes.files == expected.attributes.files
        assert verify_store(final).is_whole
        assert set(object_sizes(final)) == {"zarr.json", *expected.attributes.files}
        assert entries(out) == {final.name: True}
    assert ended >= total - 7  # fsspec's memory takes an error for "not there" when it removes the build's 7 objects
    assert all(told.startswith("OUT ") and "run the same command again" in told for told in messages)


def test_finished_shards_are_not_written_again(folder: Path) -> None:
    builder = StoreBuilder(folder, make_layout("events", 30))
    assert builder.begin() == list(range(8))
    write_shards(builder, [0, 3, 5])
    lost = next(iter(builder.shard_files(5).values()))
    lost.unlink()
    (builder.partial / "shards" / "000003.json").write_bytes(b"{")
    again = StoreBuilder(folder, make_layout("events", 30))
    assert again.begin() == [1, 2, 3, 4, 5, 6, 7]
    other = make_layout("events", 30, samples_per_shard=5)
    assert StoreBuilder(folder, other).begin() == list(range(6))


def test_a_store_is_made_of_the_bytes_whose_rows_were_read(folder: Path) -> None:
    """A second writer, of raw data that have changed, writes the same shards at the same time."""
    layout = make_layout("events", 12)
    first, second = StoreBuilder(folder, layout), StoreBuilder(folder, layout)
    first.begin()
    write_shards(first, [0, 1, 2])
    rows, expected = list(first.read_rows()), make_arrays(layout)["frames"]
    second.begin()
    for shard in range(3):
        frames = expected[4 * shard : 4 * shard + 4] + 1
        second.write_shard(shard, {"frames": frames}, [{"row": -1}] * 4)
    store = first.finish(make_columns(layout), "the manifest")
    assert [row["row"] for row in rows] == list(range(12))
    np.testing.assert_array_equal(FrameStore(store).read("frames"), expected)
    assert verify_store(store).is_whole
    with pytest.raises(StoreError, match="3 of 3 shards are not there yet"):
        second.finish(make_columns(layout), "another manifest")


def test_a_slower_writer_takes_nothing_from_a_whole_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one finishes while this one copies; then this one is killed where it would write the root."""
    layout, copy_objects = make_layout("events", 12), building.copy_objects
    first, made = StoreBuilder(folder, layout), list[Path]()
    first.begin()
    write_shards(first, [0, 1, 2])

    def killed(*_: object) -> None:
        raise KilledError

    def overtaken(copies: Any) -> None:
        copy_objects(copies)
        monkeypatch.setattr(building, "copy_objects", copy_objects)
        made.append(StoreBuilder(folder, layout).finish(make_columns(layout), "the manifest"))
        monkeypatch.setattr(building, "write_object", killed)

    monkeypatch.setattr(building, "copy_objects", overtaken)
    with pytest.raises(KilledError):
        first.finish(make_columns(layout), "the manifest")
    np.testing.assert_array_equal(FrameStore(made[0]).read("frames"), make_arrays(layout)["frames"])
    assert verify_store(made[0]).is_whole


def test_what_another_one_s_unfinished_end_left_is_cleared(folder: Path) -> None:
    final = store_path(folder, make_layout("events", 12))
    (final / "strange" / "c" / "0").write_bytes(b"of a version that had such a column")
    assert build_store(folder, "events", 12) == final
    assert verify_store(final).is_whole


def test_rows_are_of_the_store_also_when_nobody_asked_for_one_more(folder: Path) -> None:
    layout = make_layout("events", 12)
    first, second = StoreBuilder(folder, layout), StoreBuilder(folder, layout)
    first.begin()
    write_shards(first, [0, 1, 2])
    taken = first.read_rows()
    assert [next(taken)["row"] for _ in range(12)] == list(range(12))
    expected = make_arrays(layout)["frames"]
    second.write_shard(1, {"frames": expected[4:8] + 1}, [{"row": -1}] * 4)
    again = first.read_rows()
    with pytest.raises(StoreError, match="another writer is at work here; run the same command again"):
        list(again)
    np.testing.assert_array_equal(FrameStore(first.finish(make_columns(layout), "m")).read("frames"), expected)


@pytest.mark.parametrize("at", ["an address", "a folder"])
def test_a_shard_that_is_written_after_its_rows_were_read_is_read_again(at: str, folder: Path, tmp_path: Path) -> None:
    layout = make_layout("events", 12)
    builder, expected = StoreBuilder(folder if at == "an address" else tmp_path, layout), make_arrays(layout)["frames"]
    builder.begin()
    write_shards(builder, [0, 1, 2])
    list(builder.read_rows())
    expected[4:8] += 1
    builder.write_shard(1, {"frames": expected[4:8]}, [{"row": 4}] * 4)
    store = builder.finish(make_columns(layout), "m")
    np.testing.assert_array_equal(FrameStore(store).read("frames"), expected)
    assert verify_store(store).is_whole
