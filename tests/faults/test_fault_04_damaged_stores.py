"""Fault 4: a store's files with any byte changed, cut short, or deleted: read, verified, repaired."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_line import run_command, succeed
from fault_injection import Effort, Tally, flip
from raw_data import contents, convert, write_raw_data

from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.stages.conversion import repair, shards

SHARD = "frames/c/1/0/0/0/0"
INDEX_BYTES = 16 * 4 + 4  # of the shard's four samples, and its checksum; at the shard's end
HOW = ("flipped", "truncated", "deleted", "empty")


@dataclass(frozen=True)
class Converted:
    """A store of small frames, its raw data, and what it holds."""

    raw: Path
    store: Path
    files: dict[str, bytes]
    frames: np.ndarray


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    folder = tmp_path_factory.mktemp("converted")
    raw = write_raw_data(folder / "raw")
    store = convert(raw, folder / "cache", frames={"num_bins": 2, "size": 6}).path
    return Converted(raw / "events", store, contents(store), FrameStore(store).read("frames"))


def restore(converted: Converted, key: str) -> None:
    path = converted.store / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(converted.files[key])


def read_all(converted: Converted, name: str) -> None:
    """A column or array as a whole, and rows of frames alone, which are decoded by another way."""
    store = FrameStore(converted.store)
    store.read(name)
    if name == "frames":
        store.read(name, np.arange(4, 8))


def assert_repaired(converted: Converted, key: str) -> None:
    """With the bytes that were there, and nothing else touched."""
    before = {path: path.stat().st_mtime_ns for path in converted.store.rglob("*") if path.is_file()}
    report = repair.run(converted.store, converted.raw)
    assert (report.repaired, report.removed) == ((key,), ())
    assert contents(converted.store) == converted.files
    assert {path for path, time in before.items() if path.stat().st_mtime_ns != time} <= {converted.store / key}


@pytest.mark.timeout(7200)
def test_every_byte_of_a_shard_and_its_index(effort: Effort, tally: Tally, converted: Converted) -> None:
    """Flipped in turn: whoever reads a row of it is told, verify names it alone; now and then it is repaired."""
    path, length = converted.store / SHARD, len(converted.files[SHARD])
    rng = np.random.default_rng(1)
    some = sorted({*range(0, length, 37), *range(length - INDEX_BYTES, length, 5)})
    positions = effort(some, list(range(length)))
    every = len(positions) // 4
    for number, position in enumerate(positions):
        flip(path, position, int(rng.integers(8)))
        with tally.attempt():
            with pytest.raises(StoreError, match="a chunk is damaged"):
                FrameStore(converted.store).read("frames")
            assert_rows_are_right_or_refused(converted)
            assert list(verify_store(converted.store).bad) == [SHARD]
            if number % every == 0:
                assert_repaired(converted, SHARD)
        restore(converted, SHARD)


def assert_rows_are_right_or_refused(converted: Converted) -> None:
    """Read one by one, which decodes that sample alone: the right values, or an error; at least one error."""
    store, refused = FrameStore(converted.store), 0
    for row in range(4, 8):
        try:
            np.testing.assert_array_equal(store.read("frames", np.array([row]))[0], converted.frames[row])
        except StoreError:
            refused += 1
    assert refused


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", HOW)
def test_any_file(
    how: str, effort: Effort, tally: Tally, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the arrays and columns: reading raises, verify names it alone, repair makes it again and converts no more."""
    made: list[int] = []
    original = shards.convert_shard
    monkeypatch.setattr(shards, "convert_shard", lambda task: made.append(task.shard) or original(task))
    keys = sorted(converted.files)
    for key in effort([SHARD, "frames/zarr.json", "label/c/0", "sample_id/zarr.json"], keys):
        path, data = converted.store / key, converted.files[key]
        match how:
            case "flipped":
                flip(path, len(data) // 2)
            case "truncated":
                path.write_bytes(data[:-1])
            case "empty":
                path.write_bytes(b"")
            case _:
                path.unlink()
        with tally.attempt():
            with pytest.raises(StoreError):
                read_all(converted, key.split("/")[0])
            assert list(verify_store(converted.store).bad) == [key]
            made.clear()
            assert_repaired(converted, key)
            if key.startswith("frames/c/"):
                assert made == [int(key.split("/")[2])]
        restore(converted, key)


@pytest.mark.timeout(7200)
def test_every_byte_of_the_metadata(effort: Effort, tally: Tally, converted: Converted) -> None:
    """An array's have a digest. The root's guard themselves with a seal; what may change is the time of making."""
    created = FrameStore(converted.store).attributes.created.encode()
    for key in ("zarr.json", "frames/zarr.json"):
        path = converted.store / key
        data = path.read_bytes()
        first = data.find(created)
        harmless = range(first, first + len(created)) if key == "zarr.json" else ()
        for position in effort(range(0, len(data), 97), range(len(data))):
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with tally.attempt():
                if position in harmless:
                    read_all(converted, "frames")
                else:
                    with pytest.raises(StoreError, match=re.escape(str(converted.store))):
                        read_all(converted, "frames")
                    assert list(verify_store(converted.store).bad) == [key], position
        path.write_bytes(data)


def test_the_commands_name_the_file_and_mend_it(tally: Tally, converted: Converted) -> None:
    flip(converted.store / SHARD, 10)
    with tally.attempt():
        told = run_command("cache", "verify", converted.store, "--json")
        assert told.code == 1
        assert [list(report["bad"]) for report in told.document] == [[SHARD]]
        succeed("cache", "repair", converted.store, "--raw", converted.raw)
        succeed("cache", "verify", converted.store)
        assert contents(converted.store) == converted.files
