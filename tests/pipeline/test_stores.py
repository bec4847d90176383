"""The cache as a whole: what lies in it, and clearing it without touching what is in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run_command, snapshot, succeed
from filelock import FileLock

from dvs_transfer.cache import writer
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.locks import lock_path
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.pipeline.stores import list_cache, prune
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing import PairingConfig

from stores import build_store, make_layout, write_shards


def begin_build(folder: Path, seed: int) -> StoreBuilder:
    """A build that stopped after its first shard, as an interrupted process leaves it: with its lock file."""
    builder = StoreBuilder(folder, make_layout("events", 30, seed=seed))
    builder.begin()
    write_shards(builder, [0])
    lock_path(folder, builder.layout.name).touch()
    return builder


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


def test_prune_deletes_what_nobody_works_on(tmp_path: Path) -> None:
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
        assert names(prune(tmp_path, dry_run=True)) == names(doomed)
        assert snapshot(tmp_path) == everything
        assert names(prune(tmp_path)) == names(doomed)
    assert names(list(tmp_path.iterdir())) == names([store, held.partial, held_lock, foreign])
    assert snapshot(store) == before
    assert held.begin() == list(range(1, held.layout.num_shards))
    assert names(prune(tmp_path)) == names([held.partial, held_lock])
    assert prune(tmp_path) == []


@pytest.fixture
def generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Stores of events and images of three days, paired on the second; and another pairing of the first day."""
    made: dict[str, Path] = {}
    for day in (1, 2, 3):
        monkeypatch.setattr(writer, "timestamp", lambda day=day: f"2026-01-0{day}T00:00:00+00:00")
        for kind in ("events", "images"):
            made[f"{kind} {day}"] = build_store(tmp_path, kind, seed=day)
        if day < 3:
            paired = pairing.run(PairingConfig(), made[f"events {day}"], made[f"images {day}"], tmp_path)
            made[f"pairs {day}"] = paired.path
    return made


def test_superseded_keeps_the_newest_and_what_the_newest_pairs_name(
    generations: dict[str, Path], tmp_path: Path
) -> None:
    assert prune(tmp_path) == []
    before = snapshot(tmp_path)
    old = names([generations[name] for name in ("events 1", "images 1", "pairs 1")])
    assert names(prune(tmp_path, superseded=True, dry_run=True)) == old
    assert snapshot(tmp_path) == before
    assert names(prune(tmp_path, superseded=True)) == old
    kept = [path for name, path in generations.items() if not name.endswith("1")]
    assert names(list(tmp_path.iterdir())) == names(kept)
    PairStore(generations["pairs 2"])


def test_a_store_that_cannot_be_read_stops_superseded_before_anything_is_deleted(
    generations: dict[str, Path], tmp_path: Path
) -> None:
    (generations["events 2"] / "zarr.json").write_text("{}")
    unfinished = begin_build(tmp_path, seed=9).partial
    with pytest.raises(StoreError, match=f"{generations['events 2'].name}/zarr.json"):
        prune(tmp_path, superseded=True)
    assert unfinished.is_dir()
    assert all(path.is_dir() for path in generations.values())


def test_the_command_says_what_it_deleted(generations: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    cache = root / "data" / "cache"
    cache.mkdir()
    for path in generations.values():
        path.rename(cache / path.name)
    would = succeed("--root", root, "cache", "prune", "--superseded", "--dry-run")
    done = succeed("--root", root, "cache", "prune", "--superseded")
    assert would.out == done.out.replace("deleted", "would delete")
    assert done.out.splitlines()[0].startswith(f"deleted {cache}")
    assert len(done.out.splitlines()) == 3
    assert run_command("--root", root, "cache", "verify").code == 0
    assert succeed("--root", root, "cache", "prune").out == ""
