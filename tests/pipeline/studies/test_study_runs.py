"""Running cells: killed at any moment and started again, one failing, two runners, room in memory, a cluster."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import run_command, snapshot, succeed
from evaluations import evaluation_of
from tiny import DEMO, write_config

from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.locks import is_held, writer_lock
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.pipeline.config import ExperimentConfig
from dvs_transfer.pipeline.execution import connect
from dvs_transfer.pipeline.experiment import evaluate, find_pairs
from dvs_transfer.pipeline.progress import Reporter
from dvs_transfer.pipeline.studies import cells, running
from dvs_transfer.pipeline.studies.cells import CellOutcome, CellTask, find_run, lock_name, read_result, run_cell
from dvs_transfer.pipeline.studies.running import CellPool, LocalPool, StudyStoppedError
from dvs_transfer.pipeline.studies.study import load_study
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import Outcome

FILE = """
title = "tiny"
base = "tiny.toml"
data = "demo"
seeds = [42, 1024]
[[axis.way]]
label = "the method"
[[axis.way]]
label = "events alone"
set = { train.method = "events" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_config(tmp_path, DEMO, train={"epochs": 40, "base_learning_rate": 0.5})
    path = tmp_path / "wäys.toml"
    path.write_text(FILE)
    return path


@pytest.mark.timeout(600)
def test_rows_that_differ_in_their_evaluation_alone_share_a_run_and_keep_their_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, DEMO, train={"epochs": 40, "base_learning_rate": 0.5})
    file = tmp_path / "views.toml"
    ways = (
        "".join(f'[[axis.views]]\nlabel = "{n}"\nset = {{ evaluate.shifts = {n} }}\n' for n in (0, 1, 2))
        + '[[axis.views]]\nlabel = "both heads"\nset = { evaluate.heads = "both" }\n'
    )
    file.write_text('title = "views"\nbase = "tiny.toml"\ndata = "demo"\nseeds = [42]\n' + ways)
    run_in_this_process(monkeypatch)
    for state in ("done", "found"):
        found = succeed("--root", tmp_path, "study", "run", file, "--parallel", "1", "--json").document
        assert [cell["state"] for cell in found] == [state] * 4
    (run,) = {cell["run"] for cell in found}
    study, workspace = load_study(file), Workspace(tmp_path)
    results = [read_result(cell.config, find_run(cell.config, workspace)) for cell in study.cells]
    kept = [result.report for result in results if result is not None]
    assert [(report.shifts, report.heads) for report in kept] == [(0, "event"), (1, "event"), (2, "event"), (0, "both")]
    assert len({report.calibration_error for report in kept}) == 4
    assert [cell["top1"] for cell in found] == [report.first.top1 for report in kept]
    rows = succeed("--root", tmp_path, "study", "table", file, "--json").document["rows"]
    assert [row["accuracies"]["top1_last"]["mean"] for row in rows] == [report.at("last").top1 for report in kept]
    for cell, report in zip(study.cells, kept, strict=True):  # as if each were the only one
        for path in Path(run).glob("evaluation-*.json"):
            path.unlink()
        assert evaluate(run, cell.config.evaluate) == report


def weights(root: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in root.glob("runs/*/checkpoints/last.safetensors")}


def wait_until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def run_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells, one at a time."""
    monkeypatch.setattr(running, "run_cell", lambda task, on_start, on_memory: cells._work(task, on_memory))


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes, each of which imports torch
def test_killed_in_the_middle_it_ends_as_if_undisturbed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: a finished cell is left alone, a failing one does not keep the others, another runner's is waited for."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    with monkeypatch.context() as here:
        run_in_this_process(here)
        told = succeed("--root", undisturbed, "study", "run", file, "--parallel", "1")
    assert told.out.startswith("4 of 4 cells are done\nnext: dvs-transfer study table ")
    assert re.search(r"the method, seed 1024: top-1 \d+\.\d% \(last epoch\), \d+ s", told.err)
    killed.mkdir()
    (killed / "data").symlink_to(undisturbed / "data")
    assert "4 missing" in succeed("--root", killed, "study", "ls", file).out

    command = [sys.executable, "-m", "dvs_transfer", "--root", str(killed), "study", "run", str(file)]
    with subprocess.Popen([*command, "--parallel", "1"], stderr=subprocess.PIPE) as process:
        wait_until(lambda: list(killed.glob("runs/*/evaluation-test.json")))
        wait_until(lambda: len(list(killed.glob("runs/*/metrics.jsonl"))) == 2)
        process.kill()
    listed = succeed("--root", killed, "study", "ls", file, "--json").document
    folder = next(Path(cell["folder"]) for cell in listed if cell["state"] in ("running", "begun"))
    wait_until(lambda: not is_held(folder.parent, lock_name(folder)))  # the cell's process stops with its runner
    done = next(killed.glob("runs/*/evaluation-test.json")).parent
    before = snapshot(done)
    assert not (folder / "evaluation-test.json").exists()

    succeed("--root", killed, "study", "run", file)
    assert snapshot(done) == before
    assert weights(killed) == weights(undisturbed)
    one, two = (succeed("--root", root, "study", "table", file).out for root in (undisturbed, killed))
    assert one == two
    assert "| the method | 2 |" in one
    assert not list(killed.glob("runs/.*.lock"))

    run_in_this_process(monkeypatch)
    again = succeed("--root", killed, "study", "run", file, "--parallel", "1", "--json").document
    assert [cell["state"] for cell in again] == ["found"] * 4
    assert weights(killed).keys() == weights(undisturbed).keys()
    _check_a_failing_cell(file, killed)
    _check_two_runners(file, killed)


def _check_a_failing_cell(file: Path, root: Path) -> None:
    path = file.with_name("failing.toml")
    too_large = '[[axis.way]]\nlabel = "too large"\nset = { train.unlabelled.adapt = true }\n'
    path.write_text(FILE.replace("[42, 1024]", "[42]") + too_large)
    outcome = run_command("--root", root, "study", "run", path, "--parallel", "1")
    assert outcome.code == 1
    assert outcome.out.startswith("2 of 3 cells are done\n  too large, seed 42: failed: train.unlabelled needs rec")
    table = succeed("--root", root, "study", "table", path).out
    assert "| too large | 0 of 1 | missing |" in table


def test_every_draw_has_its_own_labels_which_all_rows_share(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pair stores are made for each draw; the recordings that validate and test are those of all."""
    monkeypatch.setattr(running, "run_cell", lambda task, *_: CellOutcome(task.name, "done", top1=0.5))
    few = "[set]\npairing.train_per_class = 1\n[[axis.way]]"
    file.write_text(
        FILE.replace("[[axis.way]]", few, 1).replace("seeds", 'draws = "labels"\nseeds').replace("1024]", "1024, 7]")
    )
    study, workspace = load_study(file), Workspace(tmp_path)
    running.run(study, workspace, Reporter(verbosity=0), parallel=1)
    stores = [[find_pairs(cell.config, workspace) for cell in row.cells] for row in study.rows]
    assert stores[0] == stores[1]
    assert len({*stores[0]}) == 3
    ids = {
        split: [PairedCache.open(path, split).sample_ids for path in stores[0]]
        for split in ("train", "validation", "test")
    }
    assert len({*ids["train"]}) == 3
    assert len({*ids["validation"]}) == len({*ids["test"]}) == 1


@pytest.mark.parametrize(("validation_per_class", "shown"), [(1, (0.5, "last epoch")), (10, (1.0, "epoch 2"))])
def test_the_accuracy_of_a_cell_is_the_one_that_is_shown_first_everywhere(
    validation_per_class: int, shown: tuple[float, str], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the last epoch where too few recordings chose the best one; found by the study, and by a cell's process."""
    predictions = Predictions(("1", "2"), ("ant", "bee"), ("ant", "bee"), ("ant", "ant"))
    report = evaluation_of(predictions, ("ant", "bee"), validation_per_class=validation_per_class)
    for module in (cells, running):
        monkeypatch.setattr(module, "read_result", lambda config, folder: Outcome(report, predictions))
    monkeypatch.setattr(running, "find_run", lambda config, workspace: workspace.runs / "a")
    found = running.run(load_study(file), Workspace(tmp_path), Reporter(0))
    assert [(cell.state, cell.top1, cell.epoch) for cell in found] == [("found", *shown)] * 4
    monkeypatch.setattr(cells.experiment, "run_folder", lambda config, workspace: workspace.runs / "a")
    (tmp_path / "runs").mkdir()
    by_process = cells._work(task_of(file, tmp_path), lambda num_bytes: None)
    assert (by_process.top1, by_process.epoch) == shown


def test_data_that_cannot_be_had_fail_their_cells_alone(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(config: ExperimentConfig, workspace: Workspace, convert: Any) -> None:
        if config.pairing.protocol == "unrestricted":
            raise StoreError("no photo is left")

    monkeypatch.setattr(running, "preprocess", prepare)
    monkeypatch.setattr(running, "run_cell", lambda task, *_: CellOutcome(task.name, "done", top1=0.5))
    leaky = '[[axis.way]]\nlabel = "leaky"\nset = { pairing.protocol = "unrestricted" }\n'
    file.write_text(FILE + leaky)
    outcome = run_command("--quiet", "--root", tmp_path, "study", "run", file)
    says = "4 of 6 cells are done\n  leaky, seed 42; leaky, seed 1024: failed: no photo is left\n"
    assert (outcome.code, outcome.out, outcome.err) == (1, says, "")


def _check_two_runners(file: Path, root: Path) -> None:
    """A cell that another process has is left alone."""
    study = load_study(file)
    cell, workspace = study.cells[0], Workspace(root)
    task = running._task(cell, workspace, threads=1)
    folder = find_run(cell.config, workspace)
    assert folder is not None
    with writer_lock(workspace.runs, lock_name(folder)):
        assert run_cell(task).state == "busy"


def test_the_command_s_old_name_is_kept_and_not_shown(file: Path, tmp_path: Path) -> None:
    listed, before = (succeed("--root", tmp_path, name, "ls", file).out for name in ("study", "experiment"))
    assert "4 missing" in listed
    assert before == listed
    commands = succeed("--help").out
    assert " study " in commands
    assert " experiment " not in commands


def named(name: str) -> CellTask:
    nothing: Any = None
    return CellTask(name, nothing, nothing)


class Pool:
    """Gives each task the next of its outcomes, at once."""

    num_restarts = 2

    def __init__(self, **outcomes: list[str]) -> None:
        self.outcomes = outcomes
        self.submitted: list[tuple[str, bool]] = []
        self.executor = ExitStack()

    def submit(self, task: CellTask) -> Any:
        from concurrent.futures import Future

        self.submitted.append((task.name, task.waits))
        state: Any = self.outcomes[task.name].pop(0)
        future: Any = Future()
        if state == "dead":
            future.set_exception(RuntimeError("worker died"))
        else:
            future.set_result(CellOutcome(task.name, state, top1=0.5 if state == "done" else None))
        return future

    def stop(self) -> None:
        raise AssertionError("nobody asked for that")


def tasks_of(pool: Pool) -> list[CellTask]:
    return [named(name) for name in pool.outcomes]


def test_a_cell_of_another_runner_is_waited_for_after_the_others() -> None:
    pool: Any = Pool(a=["busy", "found"], b=["done"], c=["dead"])
    outcomes = running.run_all(pool, tasks_of(pool), Reporter(0))
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"a": "found", "b": "done", "c": "failed"}
    assert pool.submitted == [("a", False), ("b", False), ("c", False), ("a", True)]
    assert outcomes["c"].message == "RuntimeError: worker died"


def test_a_cell_that_a_cluster_s_machine_stops_is_begun_again() -> None:
    pool: Any = Pool(a=["stopped", "stopped", "done"], b=["stopped"] * 3)
    outcomes = running.run_all(pool, tasks_of(pool), Reporter(0))
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"a": "done", "b": "stopped"}
    assert Counter(pool.submitted) == {("a", False): 3, ("b", False): 3}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_cells_under_way_stop_and_starts_no_other(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []

    def work(task: CellTask, on_start: Any, on_memory: Any) -> CellOutcome:
        began.append(task.name)
        told = threading.Event()
        on_start(SimpleNamespace(stop=told.set))
        os.kill(os.getpid(), number)
        told.wait()
        return CellOutcome(task.name, "stopped")

    monkeypatch.setattr(running, "run_cell", work)
    tasks = [named(name) for name in "abc"]
    with (
        pytest.raises(StudyStoppedError, match="the same command goes on") as caught,
        ThreadPoolExecutor(1) as threads,
    ):
        running.run_all(LocalPool(threads, 1, []), tasks, Reporter(0))
    assert (caught.value.exit_code, began) == (code, ["a"])


def test_cells_are_spread_over_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=20)

    def work(task: CellTask, on_start: Any, on_memory: Any) -> CellOutcome:
        on_memory(1)
        together.wait()
        return CellOutcome(task.name, "done", message=(task.environment or {}).get("CUDA_VISIBLE_DEVICES"))

    monkeypatch.setattr(running, "run_cell", work)
    with ThreadPoolExecutor(2) as threads:
        pool = LocalPool(threads, 2, ["3", "5"])
        futures = [pool.submit(named(name)) for name in "abcd"]
        assert {future.result().message for future in futures} == {"3", "5"}


def test_a_cell_starts_where_memory_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.psutil, "virtual_memory", lambda: SimpleNamespace(available=250))
    telling, ending = threading.Event(), threading.Event()
    entered: list[str] = []

    def work(task: CellTask, on_start: Any, on_memory: Any) -> CellOutcome:
        entered.append(task.name)
        if task.name == "a":
            telling.wait()
            on_memory(100)
        ending.wait()
        return CellOutcome(task.name, "done")

    monkeypatch.setattr(running, "run_cell", work)
    with ThreadPoolExecutor(4) as threads:
        pool = LocalPool(threads, 4, [])
        futures = [pool.submit(named(name)) for name in "abcd"]
        time.sleep(0.1)
        assert len(entered) == 1  # nobody knows yet what a cell takes
        telling.set()  # 100: the free 250 have room for two more, with their margins
        wait_until(lambda: len(entered) == 3, 10)
        time.sleep(0.1)
        assert len(entered) == 3
        pool.stop()
        ending.set()
        states = [future.result().state for future in futures]
    assert (len(entered), states.count("done"), states.count("stopped")) == (3, 3, 1)


def test_what_kills_a_cell_s_process_is_said(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(file, tmp_path)
    told = run_cell(task)
    assert told.state == "failed"
    assert str(told.message).startswith(f"{tmp_path}/data/cache: no data for this configuration")
    monkeypatch.setattr(sys, "executable", str(_script(tmp_path, "sleep 0.2; kill -9 $$")))
    killed = "its process was ended by signal 9 (Killed), maybe because memory ran out: no word"
    assert run_cell(task).message == killed
    monkeypatch.setattr(sys, "executable", str(_script(tmp_path, "echo Segment >&2; exit 3")))
    assert run_cell(task).message == "its process ended with exit code 3: Segment"


def task_of(file: Path, root: Path) -> CellTask:
    return running._task(load_study(file).cells[0], Workspace(root), threads=1)


def _script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets
def test_a_cluster_s_workers_run_cells(file: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        pool = CellPool(client.get_executor(pure=False))
        (outcome,) = running.run_all(pool, [task_of(file, tmp_path)], Reporter(0)).values()
    assert outcome.state == "failed"
    assert "no data for this configuration" in str(outcome.message)


def test_no_cluster_no_run(file: Path, tmp_path: Path) -> None:
    study, workspace = load_study(file), Workspace(tmp_path)
    with pytest.raises(ConfigError, match="scheduler 'fork': expected processes or an address like tcp://host:8786"):
        running.run(study, workspace, Reporter(0), scheduler="fork")
    with pytest.raises(ConfigError, match="no dask cluster answers there"):
        running.run(study, workspace, Reporter(0), scheduler="tcp://127.0.0.1:1")
