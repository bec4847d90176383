"""Reading: rows in any order, damage is an error and never a zero, another schema is refused, nothing is written."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from dvs_transfer import open_cache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.store import FrameStore, list_partials, list_stores
from dvs_transfer.cache.verify import verify_store

from stores import build_store, make_arrays, make_layout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return build_store(tmp_path, "events", 30)


def shard_file(store: Path, shard: int) -> Path:
    return store / "frames" / "c" / str(shard) / "0" / "0" / "0" / "0"


@pytest.mark.parametrize("rows", [[0], [29, 0, 3], [5, 4, 5, 6, 7], [], list(range(30))])
def test_rows_come_in_the_order_asked_for(store: Path, rows: list[int]) -> None:
    expected = make_arrays(make_layout("events", 30))["frames"]
    read = open_cache(store).read("frames", np.array(rows, np.int64))
    np.testing.assert_array_equal(read, expected[rows])


def test_all_rows(store: Path) -> None:
    np.testing.assert_array_equal(open_cache(store).read("frames"), make_arrays(make_layout("events", 30))["frames"])


def test_quarantined_samples_have_no_label(tmp_path: Path) -> None:
    opened = open_cache(build_store(tmp_path, "events", 30, quarantined=(4,)))
    assert np.flatnonzero(~opened.valid).tolist() == [4]
    assert opened.label[4] == -1


def test_a_missing_or_short_shard_is_an_error(store: Path) -> None:
    data = shard_file(store, 2).read_bytes()
    shard_file(store, 2).write_bytes(data[:-1])
    with pytest.raises(StoreError, match=r"frames/c/2/0/0/0/0: this file is \d+ bytes long, it should have"):
        FrameStore(store)
    shard_file(store, 2).unlink()
    with pytest.raises(StoreError, match="is missing"):
        FrameStore(store)


def test_verify_names_missing_and_foreign_files(store: Path) -> None:
    shard_file(store, 0).unlink()
    (store / "frames" / "c" / "99").write_bytes(b"?")
    report = verify_store(store)
    assert report.bad == {"frames/c/0/0/0/0/0": "missing", "frames/c/99": "not a file of this store"}


def change_root(store: Path, **attributes: object) -> None:
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"] |= attributes
    (store / "zarr.json").write_text(json.dumps(document))


def test_changed_attributes_break_the_seal(store: Path) -> None:
    change_root(store, class_names=["bee", "ant", "cat"])
    with pytest.raises(StoreError, match="do not match their seal"):
        FrameStore(store)


def test_garbled_roots_are_refused(store: Path) -> None:
    change_root(store, num_samples="many")
    with pytest.raises(StoreError, match="num_samples"):
        FrameStore(store)
    (store / "zarr.json").write_bytes(b'{"attri')
    with pytest.raises(StoreError, match="not the metadata of a zarr group"):
        FrameStore(store)


def test_what_is_no_store_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no such store; in {tmp_path} there are {store.name}"):
        FrameStore(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match=r"it has no zarr\.json"):
        FrameStore(tmp_path)
    (tmp_path / "x.zarr.partial").mkdir()
    with pytest.raises(StoreError, match="not finished"):
        FrameStore(tmp_path / "x.zarr.partial")
    with pytest.raises(StoreError, match="a file"):
        FrameStore(shard_file(store, 0))
    with pytest.raises(StoreError, match="no array 'value'"):
        FrameStore(store).array("value")
    assert list_stores(tmp_path) == [store]
    assert list_partials(tmp_path) == [tmp_path / "x.zarr.partial"]


def read_some(opened: FrameStore) -> float:
    return float(opened.read("frames", np.array([1, 20])).sum())


def test_an_open_store_goes_to_other_processes(store: Path) -> None:
    opened = FrameStore(store)
    expected = read_some(opened)
    assert read_some(pickle.loads(pickle.dumps(opened))) == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_some, (opened,)) == expected


def test_reading_writes_nothing(store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    read_some(FrameStore(store))
    verify_store(store)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_a_root_that_zarr_does_not_understand(tmp_path: Path) -> None:
    """Found by `make fuzz`: a key more beside the attributes."""
    path = build_store(tmp_path, "events", 6)
    document = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps({**document, "attribu:es": {}}))
    with pytest.raises(StoreError, match=r"zarr\.json: not the metadata of a zarr group"):
        FrameStore(path).read("frames")
