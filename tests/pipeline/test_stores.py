"""The cache as a whole: what lies in it, and clearing it without touching what is in use."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from command_line import refuse, run_command, snapshot, succeed
from filelock import FileLock

from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.leases import FORGOTTEN_S
from dvs_transfer.cache.locks import lock_path
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.places import object_sizes, write_object
from dvs_transfer.cache.store import list_partials
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.pipeline.stores import list_cache, prune
from dvs_transfer.pipeline.workspace import PAIR_NOTES, Workspace
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store, make_layout, write_shards


def begin_build(folder: Path, seed: int) -> StoreBuilder:
    """A build that stopped after its first shard, as an interrupted process leaves it: with its lock file."""
    builder = StoreBuilder(folder, make_layout("events", 30, seed=seed))
    builder.begin()
    write_shards(builder, [0])
    lock_path(folder, builder.layout.name).touch()
    return builder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "root")
    made.cache.mkdir(parents=True)
    return made


def names(paths: list[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def test_the_list_shows_every_store_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    whole = build_store(tmp_path, "events")
    damaged = build_store(tmp_path, "images")
    (damaged / "zarr.json").write_text("{}")
    unfinished = begin_build(tmp_path, seed=1).partial
    entries = {entry.name: entry for entry in list_cache(tmp_path)}
    assert list(entries) == [whole.name, damaged.name, unfinished.name]
    assert (entries[whole.name].state, entries[whole.name].num_samples) == ("events", 30)
    files = [path for path in whole.rglob("*") if path.is_file() and path != whole / "zarr.json"]
    assert entries[whole.name].num_bytes == sum(path.stat().st_size for path in files)
    assert "not the metadata of a zarr group" in entries[damaged.name].state
    assert entries[unfinished.name].state == "unfinished"
    assert entries[unfinished.name].num_bytes > 0


def test_an_address_is_listed_and_pruned_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "shards"))
    workspace = Workspace.at(tmp_path, f"memory://{tmp_path.name}/caches")
    folder, whole = workspace.cache, build_store(workspace.cache, "events")
    for seed, renewed in ((1, time.time()), (2, time.time() - 2 * FORGOTTEN_S)):
        builder = StoreBuilder(folder, make_layout("events", 30, seed=seed))
        builder.begin()
        write_shards(builder, [0])
        holder = {"host": "elsewhere", "pid": 1, "renewed": renewed}
        write_object(lock_path(folder, builder.layout.name), json.dumps(holder).encode())
    listed = {entry.name: (entry.state, entry.num_samples) for entry in list_cache(folder)}
    partials = list_partials(folder)
    assert listed == {whole.name: ("events", 30), **{path.name: ("unfinished", 0) for path in partials}}
    forgotten = [lock_path(folder, builder.layout.name), builder.partial]
    assert names(prune(workspace, dry_run=True)) == names(prune(workspace)) == names(forgotten)
    assert prune(workspace) == []
    assert len(list_partials(folder)) == 1
    assert prune(workspace, unused=True) == [whole]
    assert not object_sizes(whole)


def test_prune_deletes_what_nobody_works_on(workspace: Workspace) -> None:
    tmp_path = workspace.cache
    store = build_store(tmp_path, "events")
    before = snapshot(store)
    free, held = begin_build(tmp_path, seed=1), begin_build(tmp_path, seed=2)
    lock_without_build = lock_path(tmp_path, "toy-images-0123456789ab.zarr")
    lock_without_build.touch()
    build_without_lock = begin_build(tmp_path, seed=3)
    lock_path(tmp_path, build_without_lock.layout.name).unlink()
    foreign = tmp_path / ".other.lock"
    foreign.touch()
    doomed = [free.partial, lock_path(tmp_path, free.layout.name), lock_without_build, build_without_lock.partial]
    held_lock = lock_path(tmp_path, held.layout.name)

    with FileLock(held_lock):
        everything = snapshot(tmp_path)
        assert names(prune(workspace, dry_run=True)) == names(doomed)
        assert snapshot(tmp_path) == everything
        assert names(prune(workspace)) == names(doomed)
    assert names(list(tmp_path.iterdir())) == names([store, held.partial, held_lock, foreign])
    assert snapshot(store) == before
    assert held.begin() == list(range(1, held.layout.num_shards))
    assert names(prune(workspace)) == names([held.partial, held_lock])
    assert prune(workspace) == []


@pytest.fixture
def stores(workspace: Workspace) -> dict[str, Path]:
    """Stores of three days: the first noted by preprocess, the second trained on, the third used by nobody."""
    made: dict[str, Path] = {}
    for day in (1, 2, 3):
        for kind in ("events", "images"):
            made[f"{kind} {day}"] = build_store(workspace.cache, kind, seed=day)
        if day < 3:
            report = pairing.run(PairingConfig(), made[f"events {day}"], made[f"images {day}"], workspace.cache)
            made[f"pairs {day}"] = report.path
    of_pairs = workspace.cache / PAIR_NOTES / "0123456789ab.json"
    run = workspace.runs / "demo-0123456789ab" / "config.json"
    for note, pairs in ((of_pairs, made["pairs 1"].name), (run, str(made["pairs 2"]))):
        note.parent.mkdir(parents=True)
        note.write_text(json.dumps({"pairs": pairs}))
    return made


def test_unused_stores_are_those_that_no_recipe_and_no_run_leads_to(
    stores: dict[str, Path], workspace: Workspace
) -> None:
    assert prune(workspace) == []
    before = snapshot(workspace.cache)
    loose = names([stores["events 3"], stores["images 3"]])
    assert names(prune(workspace, unused=True, dry_run=True)) == loose
    assert snapshot(workspace.cache) == before
    assert names(prune(workspace, unused=True)) == loose
    for pairs in ("pairs 1", "pairs 2"):
        PairStore(stores[pairs])


def test_a_store_that_cannot_be_read_does_not_stop_it(stores: dict[str, Path], workspace: Workspace) -> None:
    (stores["events 3"] / "zarr.json").write_text("{}")
    (stores["events 1"] / "zarr.json").write_text("{}")
    assert names(prune(workspace, unused=True)) == names([stores["events 3"], stores["images 3"]])
    assert stores["events 1"].is_dir()


@pytest.mark.parametrize("what", ["recipe", "pairs"])
def test_nothing_goes_while_it_is_unknown_what_is_used(
    what: str, stores: dict[str, Path], workspace: Workspace
) -> None:
    recipe = next((workspace.cache / PAIR_NOTES).iterdir())
    damaged = recipe if what == "recipe" else stores["pairs 1"] / "zarr.json"
    damaged.write_text("{}")
    with pytest.raises(StoreError, match=damaged.name):
        prune(workspace, unused=True)
    assert all(path.is_dir() for path in stores.values())


def test_the_command_says_what_it_deleted(stores: dict[str, Path], workspace: Workspace) -> None:
    would = succeed("--root", workspace.root, "cache", "prune", "--unused", "--dry-run")
    done = succeed("--root", workspace.root, "cache", "prune", "--unused")
    assert would.out == done.out.replace("deleted", "would delete")
    assert done.out.splitlines()[0].startswith(f"deleted {workspace.cache}")
    assert len(done.out.splitlines()) == 2
    assert run_command("--root", workspace.root, "cache", "verify").code == 0
    assert succeed("--root", workspace.root, "cache", "prune").out == ""


def test_a_path_where_nothing_is_cannot_be_verified(tmp_path: Path) -> None:
    refuse("cache", "verify", tmp_path / "none.zarr", code=1, says=[f"{tmp_path / 'none.zarr'}: no such store"])


def test_raw_data_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    workspace = Workspace(tmp_path)
    assert workspace.raw_data("~/mine") == tmp_path / "home" / "mine"
    assert workspace.raw_data("nmnist") == tmp_path / "data" / "raw" / "nmnist"
    assert workspace.raw_data("/elsewhere") == Path("/elsewhere")
