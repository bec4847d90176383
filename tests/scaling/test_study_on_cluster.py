"""A study on a dask cluster of two workers, one of which is killed while it trains a cell: the table is the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import succeed
from raw_data import write_raw_data
from tiny import RAW, assert_same_run, write_config

from dvs_transfer.pipeline.progress import Reporter
from dvs_transfer.pipeline.studies import cells, running
from dvs_transfer.pipeline.studies.study import load_study
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages.runs.history import read_history

FILE = """
title = "tiny"
base = "tiny.toml"
data = "real"
seeds = [1]
[set]
train.method = "events"
[axis]
train.sampling = ["balanced", "sequential"]
"""


def wait_for(find: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def in_training(worker: int) -> tuple[psutil.Process, Path] | None:
    """The process that trains for a worker, and its run's folder, once an epoch is done."""
    for child in psutil.Process(worker).children(recursive=True):
        try:
            locks = [Path(file.path) for file in child.open_files() if file.path.endswith(".train.lock")]
        except psutil.NoSuchProcess:
            continue
        for lock in locks:
            metrics = lock.parent / "metrics.jsonl"
            if metrics.exists() and metrics.stat().st_size:
                return child, lock.parent
    return None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets
def test_a_killed_worker_changes_nothing_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    write_config(tmp_path, RAW, train={"epochs": 15, "batch_size": 4, "base_learning_rate": 0.5})
    file = tmp_path / "study.toml"
    file.write_text(FILE)
    here, cluster_root = tmp_path / "here", tmp_path / "cluster"
    write_raw_data(here / "data" / "raw")
    with monkeypatch.context() as alone:
        alone.setattr(running, "run_cell", lambda task, on_start, on_memory: cells._work(task, on_memory))
        succeed("--quiet", "--root", here, "study", "run", file, "--parallel", "1")
    cluster_root.mkdir()
    (cluster_root / "data").symlink_to(here / "data")

    killed: list[Path] = []

    def kill(cluster: Any) -> None:
        pids = [worker.pid for worker in cluster.workers.values()]
        pid = wait_for(lambda: next((pid for pid in pids if in_training(pid)), None))
        trainer, folder = wait_for(lambda: in_training(pid))
        trainer.suspend()  # it is not to be done before it sees that its worker is gone
        os.kill(pid, signal.SIGKILL)
        trainer.resume()
        trainer.wait(30)  # it saves its state and leaves
        killed.append(folder)

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        killer = threading.Thread(target=kill, args=(cluster,))
        killer.start()
        study = load_study(file)
        outcomes = running.run(study, Workspace(cluster_root), Reporter(0), scheduler=cluster.scheduler_address)
        killer.join()
    assert [outcome.state for outcome in outcomes] == ["done"] * 2
    (folder,) = killed
    assert len(read_history(folder)) == 2  # begun again by another process, and not done twice
    for run in (cluster_root / "runs").iterdir():
        assert_same_run(run, here / "runs" / run.name)
    tables = [succeed("--root", root, "study", "table", file).out for root in (here, cluster_root)]
    assert tables[0] == tables[1]
    assert not list(cluster_root.glob("runs/.*.lock"))
