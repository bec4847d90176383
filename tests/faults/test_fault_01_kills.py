"""Fault 1: the process group of `preprocess` is killed, then the same command runs again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from command_line import succeed
from fault_injection import (
    Effort,
    Fault,
    ForkedCommands,
    Tally,
    Undisturbed,
    command_line,
    random_moments,
    start,
    wait_for,
)
from tiny import assert_same, assert_stores_are_whole, make_workspace, preprocess

Files = dict[str, tuple[int, int]]


def finished_shards(root: Path) -> Files:
    """(inode, time of change) of the files of every recorded shard, by their place in the store to come.

    A build that was killed after its store got its final name has none: the records are all that is left of it.
    """
    found: Files = {}
    for record in (root / "data" / "cache").glob("*.partial/shards/*.json"):
        if not (record.parent.parent / "store").is_dir():
            continue
        for key in json.loads(record.read_bytes())["files"]:
            found[key] = identity(record.parent.parent / "store" / key)
    return found


def identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def assert_not_rewritten(root: Path, shards: Files) -> None:
    now = {identity(path) for path in (root / "data" / "cache").glob("*.zarr/**/*") if path.is_file()}
    assert set(shards.values()) <= now


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("scheduler", "short"), [("threads", 2), ("processes", 1)])
def test_killed_at_random_moments(
    scheduler: str,
    short: int,
    undisturbed: Undisturbed,
    forked: ForkedCommands,
    effort: Effort,
    tally: Tally,
    tmp_path: Path,
) -> None:
    """Each in a workspace of its own, at a moment between the first file and the end of an undisturbed run."""
    options = ("--scheduler", scheduler, "--workers", "2")
    tally.notes["still_running"] = 0
    for number, moment in enumerate(
        random_moments(effort(short, 25), undisturbed.first_s, undisturbed.last_s, seed=len(scheduler))
    ):
        root = make_workspace(tmp_path / f"killed {number}", demo=True)
        with tally.attempt():
            command = forked.start(Fault(root), *preprocess(root, *options))
            if scheduler == "processes":  # which must start before they write anything
                wait_for(lambda root=root: any(root.glob("data/raw/demo/**/*.jpg")))
            tally.notes["still_running"] += command.wait(kill_after=moment).code == -signal.SIGKILL
            assert_stores_are_whole(root)
            shards = finished_shards(root)
            assert forked.run(Fault(root), *preprocess(root, *options)).code == 0
            assert_not_rewritten(root, shards)
            assert_same(root, undisturbed.root)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_before_any_file_operation(effort: Effort, tally: Tally, forked: ForkedCommands, tmp_path: Path) -> None:
    """Before the n-th call that opens, writes, flushes, renames, makes or removes something; with `--long` every n."""
    alone = make_workspace(tmp_path / "alone")
    counted = forked.run(Fault(alone), *preprocess(alone, "--scheduler", "serial"))
    assert counted.code == 0
    for nth in effort(range(7, counted.count, counted.count // 9), range(1, counted.count + 1)):
        root = make_workspace(tmp_path / f"killed {nth}")
        with tally.attempt():
            assert forked.run(Fault(root, nth), *preprocess(root, "--workers", "2")).code == -9
            assert_stores_are_whole(root)
            shards = finished_shards(root)
            again = forked.run(Fault(root), *preprocess(root, "--workers", "2"))
            assert again.code == 0, again.output
            assert_not_rewritten(root, shards)
            assert_same(root, alone)


def test_killed_just_before_the_last_lock_goes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The call that `--long` found: all is made, the lock's file alone is left."""
    root = tmp_path / "root"
    shutil.copytree(undisturbed.root, root)
    pairs = next(root.glob("data/cache/*+*.zarr"))
    (pairs.parent / f".{pairs.name}.lock").touch()
    succeed(*preprocess(root))
    assert_same(root, undisturbed.root)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tally: Tally, tmp_path: Path) -> None:
    """Killed alone, as when memory runs out: its worker processes would wait for ever, or write without the lock."""
    root = make_workspace(tmp_path / "root", demo=True)
    process = start(command_line(*preprocess(root, "--scheduler", "processes", "--workers", "2")))
    wait_for(lambda: any(root.glob("data/raw/demo/**/*.jpg")))
    workers = psutil.Process(process.pid).children(recursive=True)
    with tally.attempt():
        assert len(workers) >= 2
        process.kill()
        process.wait()
        _, left = psutil.wait_procs(workers, timeout=30)
        assert not left
