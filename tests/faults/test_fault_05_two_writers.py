"""Fault 5: two writers at once, writers that die holding a lock, and readers meanwhile."""

from __future__ import annotations

import json
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from fault_injection import Effort, Fault, Forked, ForkedCommands, Tally, Undisturbed, wait_for
from raw_data import convert, write_raw_data
from tiny import assert_same, assert_same_store, make_workspace, preprocess

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store


def begin(forked: ForkedCommands, root: Path) -> Forked:
    return forked.start(Fault(root), *preprocess(root, "--workers", "2", "--json"))


@pytest.mark.slow
def test_two_started_together_do_the_work_once(
    effort: Effort, tally: Tally, undisturbed: Undisturbed, forked: ForkedCommands, tmp_path: Path
) -> None:
    for number in range(effort(1, 10)):
        root = make_workspace(tmp_path / f"{number}", demo=True)
        with tally.attempt():
            both = [begin(forked, root) for _ in range(2)]
            outputs = [command.wait().out for command in both]
            first, second = map(json.loads, outputs)
            for stage in ("events", "images"):
                assert sorted([first[stage]["was_built"], second[stage]["was_built"]]) == [False, True], outputs
            assert sorted([first["demo"]["up_to_date"], second["demo"]["up_to_date"]]) == [False, True]
            assert_same(root, undisturbed.root)


@pytest.mark.slow
def test_the_second_takes_over_when_the_first_dies(
    effort: Effort, tally: Tally, undisturbed: Undisturbed, forked: ForkedCommands, tmp_path: Path
) -> None:
    """The first holds the lock and is killed; the second, which waits, or was just started, finishes its work."""
    for number in range(effort(1, 10)):
        root = make_workspace(tmp_path / f"{number}", demo=True)
        with tally.attempt():
            first = begin(forked, root)
            wait_for(lambda root=root: (root / "data" / "raw" / "demo" / "demo.begun.json").exists())
            second = begin(forked, root)
            wait_for(lambda root=root: list(root.glob("data/cache/*.partial/shards/*.json")))
            first.kill()
            ended = second.wait()
            assert ended.code == 0, ended
            assert_same(root, undisturbed.root)


def read_again_and_again(store: Path, until: Path) -> int:
    """Open, read and verify a store until a file is there; returns how often. Raises when anything is not as before."""
    expected, times = FrameStore(store).read("frames"), 0
    rng = np.random.default_rng(times)
    while not until.exists() or times == 0:
        opened = FrameStore(store)
        rows = rng.integers(0, len(opened), 5)
        np.testing.assert_array_equal(opened.read("frames", rows), expected[rows])
        assert verify_store(store).is_whole
        times += 1
    return times


@pytest.mark.slow
def test_readers_while_a_writer_builds_beside_them(effort: Effort, tally: Tally, tmp_path: Path) -> None:
    """Ten of them (three in the short form), in processes of their own."""
    raw, number = write_raw_data(tmp_path / "raw"), effort(3, 10)
    store = convert(raw, tmp_path / "cache").path
    alone = convert(raw, tmp_path / "alone", frames={"num_bins": 7, "size": 16})
    done = tmp_path / "done"
    with get_context("spawn").Pool(number) as pool:
        readers = pool.starmap_async(read_again_and_again, [(store, done)] * number)
        for turn in range(effort(5, 50)):
            frames = {"num_bins": 7 if turn == 0 else 8 + turn, "size": 16}
            built = convert(raw, tmp_path / "cache", frames=frames)
            assert built.was_built
        done.touch()
        for times in readers.get(timeout=300):
            with tally.attempt():
                assert times > 0
    assert_same_store(tmp_path / "cache" / alone.path.name, alone.path)
