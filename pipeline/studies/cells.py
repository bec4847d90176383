"""One cell: what there is of it, and the process that trains and evaluates it.

Its run folder is named by all that decides its result, and holds what was done so far: so cells are shared between
studies, and with runs of `dvs-transfer train`.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from ...cache.documents import read_document
from ...cache.errors import DvsTransferError, StoreError, TrainingError
from ...cache.locks import is_held, writer_lock
from ...stages.evaluation.results import Outcome, current_evaluation
from ...stages.processes import Process, ProcessLostError
from ...stages.runs.checkpoint import read_info, weights_path
from ...stages.runs.metrics import metrics_path
from ...stages.training.stopping import TrainingStoppedError
from .. import experiment
from ..config import ExperimentConfig
from ..workspace import Workspace
from .study import Cell

WAIT_S = 7 * 24 * 3600.0  # for another study's cell
GRACE_S = 10.0


@dataclass(frozen=True)
class CellStatus:
    """Where a cell stands. folder: None while its data are not preprocessed; epochs: finished ones."""

    name: str
    state: Literal["done", "running", "begun", "missing"]
    folder: Path | None
    epochs: int
    num_epochs: int


@dataclass(frozen=True)
class CellTask:
    """What to do. waits: for another process that has the cell; else "busy"."""

    name: str
    config: ExperimentConfig
    workspace: Workspace
    waits: bool = False
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell. found: it was there already; busy: another process has it.

    top1: of the epoch that goes first wherever the run is shown, and which that is.
    """

    name: str
    state: Literal["done", "found", "busy", "failed", "stopped"]
    run: str | None = None
    message: str | None = None
    top1: float | None = None
    epoch: str = ""
    seconds: float = 0.0

    @classmethod
    def of(
        cls, name: str, folder: Path, result: Outcome, state: Literal["done", "found"] = "found", seconds: float = 0.0
    ) -> CellOutcome:
        return cls(name, state, str(folder), None, result.report.first.top1, result.report.first_epoch, seconds)


def find_run(config: ExperimentConfig, workspace: Workspace) -> Path | None:
    """The cell's run folder, whether it exists or not; None while its data are not preprocessed."""
    try:
        return experiment.run_folder(config, workspace)
    except StoreError:
        return None


def read_result(config: ExperimentConfig, folder: Path | None) -> Outcome | None:
    """The cell's result; None where training or evaluation is not finished, or is not what the cell asks for."""
    try:
        if folder is None or read_info(weights_path(folder, "last")).epoch != config.train.epochs:
            return None
        return current_evaluation(folder, config.evaluate)
    except TrainingError:
        return None


def status_of(cell: Cell, workspace: Workspace) -> CellStatus:
    """Where a cell stands now."""
    folder, epochs = find_run(cell.config, workspace), 0
    state: Literal["done", "running", "begun", "missing"] = "missing"
    if folder is not None:
        if (metrics := metrics_path(folder)).exists():
            epochs = read_document(metrics).count(b"\n")
        if read_result(cell.config, folder) is not None:
            state = "done"
        elif is_worked_on(folder):
            state = "running"
        elif folder.exists():
            state = "begun"
    return CellStatus(cell.name, state, folder, epochs, cell.config.train.epochs)


def lock_name(folder: Path) -> str:
    """The lock, in the folder of all runs, of whoever works on a cell. It is there before the run's own folder is."""
    return f"{folder.name}.cell"


def is_worked_on(folder: Path) -> bool:
    """Whether a process trains in the run folder now, or has it for other work on its cell."""
    return is_held(folder, "train") or is_held(folder.parent, lock_name(folder))


def run_cell(
    task: CellTask,
    on_start: Callable[[Process], None] = lambda process: None,
    on_memory: Callable[[int], None] = lambda num_bytes: None,
) -> CellOutcome:
    """Train and evaluate a cell in a process of its own, and wait for it. Never raises for what goes wrong there.

    on_start is given the process, to stop it; on_memory the bytes that training takes.
    """
    with tempfile.TemporaryFile() as errors:
        process = Process(environment=task.environment, stderr=errors)
        try:
            on_start(process)
            outcome: CellOutcome = process.call(_work, task, on_note=on_memory)
            return outcome
        except ProcessLostError as lost:
            if lost.code == -signal.SIGTERM:
                return CellOutcome(task.name, "stopped")
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            return CellOutcome(task.name, "failed", message=f"its process {lost}: {said[-1] if said else 'no word'}")
        except Exception as error:  # a mistake in the program: the other cells go on
            return CellOutcome(task.name, "failed", message=f"{type(error).__name__}: {error}")
        finally:
            process.end(GRACE_S)


def _work(task: CellTask, tell_memory: Callable[[int], None]) -> CellOutcome:
    """What the cell's process does. Told to stop (SIGTERM), or left alone, training saves its state and leaves."""
    began = time.perf_counter()
    folder: Path | None = None
    told: list[int] = []

    def tell(progress: object = None) -> None:
        """Once, at the first report of progress: a step was done by then."""
        if not told:
            told.append(psutil.Process().memory_info().rss)
            tell_memory(told[0])

    try:
        folder = experiment.run_folder(task.config, task.workspace)
        if not task.waits and is_worked_on(folder):
            return CellOutcome(task.name, "busy", str(folder))
        with writer_lock(folder.parent, lock_name(folder), timeout_s=WAIT_S):
            while is_held(folder, "train"):
                time.sleep(1)
            result = read_result(task.config, folder)
            found = result is not None
            if result is None:
                experiment.train(task.config, task.workspace, folder, on_progress=tell)
                tell()  # there was nothing left to train
                experiment.evaluate(folder, task.config.evaluate)
                result = read_result(task.config, folder)
    except TrainingStoppedError as stopped:
        return CellOutcome(task.name, "stopped", str(folder), str(stopped))
    except (DvsTransferError, OSError) as error:
        return CellOutcome(task.name, "failed", str(folder) if folder else None, str(error))
    assert result is not None, f"{folder} is evaluated and yet not done"
    state: Literal["done", "found"] = "found" if found else "done"
    return CellOutcome.of(task.name, folder, result, state, time.perf_counter() - began)
