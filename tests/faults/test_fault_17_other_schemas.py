"""Fault 17: stores of another version of the format, older or newer, by every command that opens one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import refuse, run_command, succeed
from fault_injection import Tally
from raw_data import convert, write_raw_data
from tiny import make_workspace, preprocess

from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.cache.schema import SCHEMA_VERSION
from dvs_transfer.cache.store import FrameStore, find_stores

WAY_OUT = ["schema version", f"this software reads version {SCHEMA_VERSION}", "make it again with"]


def change_version(store: Path, version: object) -> None:
    """As another release writes its root: with its version, and fields that this one does not know."""
    root = store / "zarr.json"
    document = json.loads(root.read_text())
    document["attributes"] = {"schema_version": version, "kind": "events", "of_another_time": True}
    root.write_text(json.dumps(document))


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_refused_with_the_way_out(version: object, tally: Tally, tmp_path: Path) -> None:
    raw = write_raw_data(tmp_path / "raw")
    report = convert(raw, tmp_path / "cache")
    recipe = FrameStore(report.path).attributes.recipe
    change_version(report.path, version)
    before = (report.path / "zarr.json").read_bytes()
    says = ["has no schema_version"] if version is None else [repr(version), *WAY_OUT]
    for command in ("info", "repair"):
        with tally.attempt():
            options = ["--raw", raw / "events"] if command == "repair" else []
            refuse("cache", command, report.path, *options, code=1, says=[str(report.path), *says])
    with tally.attempt():
        refuse("preview", report.path, "--out", tmp_path / "a.png", code=1, says=[str(report.path), *says])
    with tally.attempt():
        told = run_command("cache", "verify", report.path)
        assert told.code == 1
        assert says[0] in told.out
    with tally.attempt():
        assert not find_stores(tmp_path / "cache", "ncaltech101", recipe)
        assert (report.path / "zarr.json").read_bytes() == before


def test_preprocess_and_training_go_on_when_it_is_moved_away(tally: Tally, tmp_path: Path) -> None:
    """An old pair store or its recordings stop training with the way out; following it mends everything."""
    root = make_workspace(tmp_path / "root")
    made = json.loads(succeed(*preprocess(root, "--json")).out)
    for stage in ("events", "pairs"):
        store = Path(made[stage]["path"])
        kept = (store / "zarr.json").read_bytes()
        change_version(store, 0)
        with tally.attempt(), pytest.raises(StoreError, match="schema version 0, this software reads version 1"):
            PairedCache.open(made["pairs"]["path"])
        with tally.attempt():
            train = ["--root", root, "train", "--config", root / "tiny.toml", "--set", "train.epochs=1"]
            refuse(*train, code=1, says=[str(store), "schema version 0", "make it again"])
            assert not list((root / "runs").glob("*"))
        with tally.attempt():
            refuse(*preprocess(root), code=1, says=[str(store), "move it away"])
            store.rename(tmp_path / store.name)
            again = json.loads(succeed(*preprocess(root, "--json")).out)
            assert again[stage]["path"] == str(store)
            assert json.loads((store / "zarr.json").read_bytes())["attributes"]["seal"] in kept.decode()
