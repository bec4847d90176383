"""`torchrun` with two processes, each on shards of its own: what it reads, kills, and going on with as many or one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from paired_stores import make_pairs
from safetensors.torch import load_file
from tiny import assert_same_run
from tiny_run import MODEL, changed, train

from dvs_transfer import PairedCache
from dvs_transfer.cache.pairs import Split
from dvs_transfer.stages.batches.parts import ShardedSampler
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.runs.history import read_history
from dvs_transfer.stages.runs.state import TrainingState
from dvs_transfer.stages.training.distributed import ALONE
from dvs_transfer.stages.training.keeping import Keeper
from dvs_transfer.stages.training.statistics import AllStatistics, pooled

SCRIPT = Path(__file__).with_name("torchrun_training.py")
STEPS = 18  # of a run: three epochs of six
SOON_S = 30  # torchrun itself would kill then


def launch(pairs: Path, victim: int, step: int, *runs: str) -> str:
    """What `torchrun` of two processes prints, one of which is killed; see `torchrun_training.py`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [*command, "--", SCRIPT, pairs, str(victim), str(step), *runs],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("stores") / "pairs", 4, size=16)


def opening(pairs: Path) -> Callable[[Split], PairedCache]:
    return lambda name: PairedCache.open(pairs, name)


def taken_up_alone(folder: Path, state: TrainingState) -> torch.Tensor:
    """The running statistics of a network that goes on with a state in one process."""
    weights = load_file(folder / "checkpoints" / f"state-{state.epoch:06d}-{state.step:08d}.safetensors")
    network = build_network(MODEL, num_classes=7, num_steps=3, size=16, seed=0)
    ignore = SimpleNamespace(take_up=lambda state: None, load_state_dict=lambda state: None)
    learner: Any = SimpleNamespace(network=network, auxiliary=None, statistics=None, optimizer=ignore)
    keeper: Any = SimpleNamespace(network=ignore, run_folder=folder)
    Keeper.take_up(keeper, learner, weights, state)
    return AllStatistics(network, ALONE).own()


@pytest.mark.slow
def test_killed_processes_and_going_on_with_as_many_or_one(pairs: Path, tmp_path: Path) -> None:
    """One leaves, and the other saves the last whole step; with as many again the result is that of a run in one go,
    and each reads its shards alone; the first one leaves, and its newest state counts; with one the draws change only
    where shards were divided, and what follows is said.

    Two launches for all that: each starts three interpreters.
    """
    one_go, killed, first = tmp_path / "one-go", tmp_path / "killed", tmp_path / "first"
    said = launch(pairs, 1, STEPS + 10, f"sharded={one_go}", f"sharded={killed}")
    pid = killed.with_suffix(".killed").read_text().split()[0]
    assert f"process 0: ProcessesLostError: of this run's 2 processes, number 1 (pid {pid}) ended (" in said
    assert f"the state after 1 epochs and 3 steps is saved in {killed}: the same command goes on from there" in said
    split, validation = (PairedCache.open(pairs, name) for name in ("train", "validation"))
    sampler = ShardedSampler(split, changed(), 2, "value")
    assert sampler.note in said
    for rank, part in enumerate(sampler.parts):
        read = json.loads(one_go.with_suffix(f".{rank}.json").read_text())
        assert read["frames"] == sorted([*split.rows[part.rows], *(validation.rows if rank == 0 else ())])
        assert read["value"] == sorted(split.pool_rows[part.images])
        assert len(read["value"]) < len(split.pool_rows)

    said = launch(pairs, 0, STEPS - 9 + 10, f"sharded={killed}", f"auto={first}")
    ended = time.time()
    assert f"{killed}: goes on after 1 epochs and 3 steps of 3 epochs" in said
    assert "the draws change" not in said
    assert_same_run(killed, one_go)
    stints = read_history(killed)
    assert [stint.ended is None for stint in stints] == [False, False]
    assert {(stint.processes, stint.data_placement, stint.device[:4]) for stint in stints} == {(2, "sharded", "2 x ")}
    pid, moment = first.with_suffix(".killed").read_text().split()
    assert ended - float(moment) < SOON_S
    assert f"process 1: ProcessesLostError: of this run's 2 processes, number 0 (pid {pid}) ended (" in said
    assert f"the newest state is in {first}: the same command goes on from there" in said

    for path in (killed / "checkpoints").glob("state-*"):  # back to where it was killed
        if path.stem > "state-000001-00000003":
            path.unlink()
    state = packing.from_bytes((killed / "checkpoints" / "state-000001-00000003.rest").read_bytes())["state"]
    assert not torch.equal(*state["statistics"])  # of classes that lie in other shards
    assert torch.equal(taken_up_alone(killed, TrainingState(**state)), pooled(state["statistics"]))
    lines: list[str] = []
    report = train(killed, open_split=opening(pairs), on_message=lines.append)
    assert (report.resumed_after, report.resumed_steps, report.data_placement) == (1, 3, "device")
    assert (
        f"{killed}: trained so far by 2 processes, each on its own shards; from here on by 1 process: the draws "
        "change, from step 4 of epoch 2 on; the steps before are not drawn again"
    ) in lines
    assert [stint.processes for stint in read_history(killed)] == [2, 2, 1]

    report = train(first, open_split=opening(pairs), on_message=lines.append)
    assert (report.resumed_after, report.resumed_steps) == (1, 2)  # saved every other step
    assert (
        f"{first}: trained so far by 2 processes; from here on by 1 process: recordings, images and their draws stay "
        "the same; CKA, batch norm, what is drawn on the device and which places `mixture` fills with photos follow "
        "each process's share of a batch"
    ) in lines
    assert [stint.ended is None for stint in read_history(first)] == [True, False]
