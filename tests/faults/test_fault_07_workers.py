"""Fault 7: any number of workers, threads, processes or a cluster's, write the same bytes; a cluster may lose one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_injection import Effort, Tally
from raw_data import config, convert, make_events, write_raw_data
from tiny import assert_same_store

from dvs_transfer.pipeline.execution import DaskRunner, WorkersLostError
from dvs_transfer.pipeline.progress import Reporter
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.sources.atis import encode_records

NUM_SHARDS = 60
ONE_EACH = {"conversion": {"samples_per_shard": 1}, "frames": {"num_bins": 10, "size": 48}}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw_data(tmp_path_factory.mktemp("raw"))


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_any_workers_write_the_same_bytes(
    scheduler: str, effort: Effort, tally: Tally, raw: Path, tmp_path: Path
) -> None:
    alone = {source: convert(raw, tmp_path / "alone", source) for source in ("ncaltech101", "caltech101")}
    for workers in effort((1, 2, 8) if scheduler == "threads" else (2,), (1, 2, 8)):
        runner = DaskRunner(Reporter(0), scheduler, workers)
        for source, expected in alone.items():
            with tally.attempt():
                together = conversion.run(config(raw, tmp_path / f"{workers}", source), runner)
                assert_same_store(together.path, expected.path)


@pytest.fixture(scope="module")
def cluster() -> Any:
    """Two worker processes of this machine, started again when they die."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster


def write_long_recordings(folder: Path) -> Path:
    """Recordings that take a while, each its own shard."""
    recordings = folder / "events" / "Caltech101" / "ant"
    recordings.mkdir(parents=True)
    data = encode_records(make_events(1, 1_000_000))
    for number in range(NUM_SHARDS):
        (recordings / f"image_{number + 1:04d}.bin").write_bytes(data[5 * number :])
    return folder


def inodes(folder: Path) -> dict[Path, int]:
    """Of the records of finished shards."""
    return {path: path.stat().st_ino for path in folder.glob("*.partial/shards/*.json")}


def kill_in_the_middle(cluster: Any, partials: Path, before: dict[Path, int]) -> None:
    """Wait until a fifth of the shards is there, note their inodes, and kill one of the workers."""
    while len(inodes(partials)) < NUM_SHARDS // 5:
        time.sleep(0.005)
    before |= inodes(partials)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets
def test_a_cluster_s_worker_killed_in_the_middle_costs_its_shard(
    effort: Effort, tally: Tally, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_long_recordings(tmp_path / "raw")
    expected = convert(raw, tmp_path / "alone", **ONE_EACH)
    read_rows = conversion.StoreBuilder.read_rows
    last: dict[Path, int] = {}

    def note(self: Any) -> Any:
        """When every shard is there: the inodes of their records."""
        last.update(inodes(self.folder))
        return read_rows(self)

    monkeypatch.setattr(conversion.StoreBuilder, "read_rows", note)
    for number in range(effort(1, 10)):
        out = tmp_path / f"cluster {number}"
        before: dict[Path, int] = {}
        killer = threading.Thread(target=kill_in_the_middle, args=(cluster, out, before))
        with tally.attempt():
            killer.start()
            report = conversion.run(config(raw, out, **ONE_EACH), DaskRunner(Reporter(0), cluster.scheduler_address))
            killer.join()
            assert_same_store(report.path, expected.path)
            assert sum(last[path] != inode for path, inode in before.items()) <= 2  # done, but not told yet


def kill_a_worker(shards: Path, others: set[psutil.Process]) -> None:
    """One of this process's worker processes, once a fifth of the shards is there; `others` are none."""
    while len(inodes(shards)) < NUM_SHARDS // 5:
        time.sleep(0.005)
    workers = [child for child in psutil.Process().children() if "process_main" in " ".join(child.cmdline())]
    next(worker for worker in workers if worker not in others).kill()


@pytest.mark.slow
def test_a_worker_process_killed_in_the_middle_ends_with_a_message_and_the_next_run_finishes(
    tally: Tally, tmp_path: Path
) -> None:
    raw = write_long_recordings(tmp_path / "raw")
    expected = convert(raw, tmp_path / "alone", **ONE_EACH)
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "out", set(psutil.Process().children())))
    killer.start()
    runner = DaskRunner(Reporter(0), "processes", 2)
    with tally.attempt():
        with pytest.raises(WorkersLostError, match="ended by signal 9"):
            conversion.run(config(raw, tmp_path / "out", **ONE_EACH), runner)
        killer.join()
        before = inodes(tmp_path / "out")
        assert NUM_SHARDS // 5 <= len(before) < NUM_SHARDS
        report = conversion.run(config(raw, tmp_path / "out", **ONE_EACH), runner)
        assert_same_store(report.path, expected.path)


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_task_that_kills_its_workers_ends_with_a_message(cluster: Any, tally: Tally) -> None:
    runner = DaskRunner(Reporter(0), cluster.scheduler_address)
    with tally.attempt(), pytest.raises(WorkersLostError, match=r"its workers died or left \(KilledWorker"):
        list(runner(die, range(2), label="die"))
