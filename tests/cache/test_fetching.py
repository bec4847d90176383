"""The cache of shards: fetched once, held to its digest, bounded, shared; a full disk is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dvs_transfer.cache import durable
from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.places import place, write_object
from dvs_transfer.cache.store import FrameStore

from stores import build_store, make_arrays, make_layout

FRAMES = make_arrays(make_layout("events", 30))["frames"]


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache."""
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "shards"))
    return tmp_path / "shards"


@pytest.fixture
def path(tmp_path: Path, shards: Path) -> Path:
    return build_store(place(f"memory://{tmp_path.name}"), "events", 30)


def test_rows_in_any_order_and_lazy_slices(path: Path) -> None:
    store, rows = FrameStore(path), np.array([29, 3, 3, 17, 0])
    np.testing.assert_array_equal(store.read("frames", rows), FRAMES[rows])
    np.testing.assert_array_equal(store.array("frames")[2:11, :, 1, 2], FRAMES[2:11, :, 1, 2])
    np.testing.assert_array_equal(store.read("frames"), FRAMES)


def test_copies_are_named_by_their_digest_and_used_again(path: Path, shards: Path) -> None:
    store = FrameStore(path)
    store.read("frames")
    kept = {file.digest.partition(":")[2] for key, file in store.attributes.files.items() if key.startswith("frames/")}
    assert {copy.name for copy in shards.iterdir()} == kept
    write_object(path / "frames/c/0/0/0/0/0", b"another")  # nobody asks for it again
    np.testing.assert_array_equal(store.read("frames", np.arange(30)), FRAMES)


@pytest.mark.parametrize("rot", [lambda size: bytes(size), lambda size: b"", lambda size: bytes(size + 9)])
def test_a_copy_that_rotted_is_fetched_again(rot: object, path: Path, shards: Path) -> None:
    FrameStore(path).read("frames")
    FrameStore(path).column("sample_id")
    for read in (
        lambda store: store.read("frames", np.arange(30)),
        lambda store: store.read("frames"),
        lambda store: store.array("frames")[...],
    ):
        for copy in shards.iterdir():
            copy.write_bytes(rot(copy.stat().st_size))  # type: ignore[operator]
        store = FrameStore(path)
        np.testing.assert_array_equal(read(store), FRAMES)
        assert store.sample_id[0] == "ant/image_0000"


def test_a_damaged_object_is_told_and_not_kept(path: Path, shards: Path) -> None:
    store, key = FrameStore(path), "frames/c/2/0/0/0/0"
    content = bytearray((path / key).read_bytes())
    content[7] ^= 1
    write_object(path / key, bytes(content))
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{path / key}: this object is damaged"):
            store.read("frames", np.arange(30))
    assert store.attributes.files[key].digest.partition(":")[2] not in {copy.name for copy in shards.iterdir()}
    with pytest.raises(StoreError, match="this object is damaged"):
        store.array("frames")[8]


def test_the_least_recently_used_goes(path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sorted(file.num_bytes for file in FrameStore(path).attributes.files.values())
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE_GB", str(4.5 * sizes[-1] / 1e9))
    store = FrameStore(path)
    for shard in (0, 1, 2, 0, 3, 0, 4, 5, 0, 6, 7):
        np.testing.assert_array_equal(store.read("frames", np.array([4 * shard])), FRAMES[[4 * shard]])
        for age, copy in enumerate(sorted(shards.iterdir(), key=lambda copy: copy.stat().st_mtime_ns, reverse=True)):
            os.utime(copy, ns=(0, 10**18 - age * 10**9))  # as if a day lay between any two
        assert sum(copy.stat().st_size for copy in shards.iterdir()) <= 4.5 * sizes[-1]
    names = {copy.name for copy in shards.iterdir()}
    kept = [shard for shard in range(8) if _name(store, shard) in names]
    assert 0 in kept
    assert 7 in kept
    assert not {1, 2, 3} & set(kept)


def _name(store: FrameStore, shard: int) -> str:
    return store.attributes.files[f"frames/c/{shard}/0/0/0/0"].digest.partition(":")[2]


def test_a_cache_without_room_for_one_shard_reads_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE_GB", "0.000000001")
    store = FrameStore(path)
    np.testing.assert_array_equal(store.read("frames", np.arange(30)), FRAMES)
    np.testing.assert_array_equal(store.array("frames")[...], FRAMES)


def test_readers_beside_one_who_clears_the_cache(path: Path, shards: Path) -> None:
    wrong, ended = list[int](), threading.Event()

    def read(seed: int) -> None:
        rng, store = np.random.default_rng(seed), FrameStore(path)
        for _ in range(40):
            rows = rng.integers(0, 30, 5)
            if not np.array_equal(store.read("frames", rows), FRAMES[rows]):
                wrong.append(seed)

    def clear() -> None:
        while not ended.wait(0.001):
            for copy in [copy for copy in shards.glob("*") if copy.suffix != ".tmp"]:
                copy.unlink(missing_ok=True)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    clearing = threading.Thread(target=clear)
    for thread in (*threads, clearing):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    clearing.join()
    assert wrong == []


def test_a_cache_that_cannot_be_written_or_bounded_is_told(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(StoreError, match=r"file/below/.*: the copy of a shard cannot be written .*\$DVS_TR"):
        FrameStore(path).read("frames")
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE_GB", "a lot")
    with pytest.raises(ConfigError, match="expected a number of gigabytes"):
        FrameStore(path).read("frames")


def test_other_files_in_the_folder_are_nobody_s_to_remove(
    path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE_GB", "0.000000001")
    shards.mkdir()
    others = [shards / name for name in ("thesis.tex", "weights.pt.tmp", "0" * 31, "a" * 32 + ".zip")]
    for other in others:
        other.write_bytes(b"mine")
        os.utime(other, (0, 0))
    (shards / "folder").mkdir()
    abandoned = shards / f"{'b' * 32}.01234567.tmp"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    np.testing.assert_array_equal(FrameStore(path).read("frames"), FRAMES)
    assert set(shards.iterdir()) == {*others, shards / "folder"}


def test_copies_on_a_disk_that_is_read_alone_are_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FrameStore(path).read("frames")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(durable, "write_bytes", refuse)
    np.testing.assert_array_equal(FrameStore(path).read("frames", np.arange(30)), FRAMES)
