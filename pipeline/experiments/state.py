"""What there is of a cell: its run folder is named by all that decides its result, and holds what was done so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...cache.documents import read_document
from ...cache.errors import StoreError, TrainingError
from ...cache.locks import is_held
from ...stages.evaluation.results import EvaluationReport, Predictions, current_evaluation, read_predictions
from ...stages.runs.checkpoint import read_info, weights_path
from ...stages.runs.metrics import metrics_path
from ..config import ExperimentConfig
from ..experiment import run_folder
from ..workspace import Workspace

CellState = Literal["done", "running", "begun", "missing"]


@dataclass(frozen=True)
class CellResult:
    """What a finished cell's evaluation says, and of each recording."""

    report: EvaluationReport
    predictions: Predictions


@dataclass(frozen=True)
class CellStatus:
    """Where a cell stands. folder: None while its data are not preprocessed; epochs: finished ones."""

    name: str
    state: CellState
    folder: Path | None
    epochs: int
    num_epochs: int


def lock_name(folder: Path) -> str:
    """The lock, in the folder of all runs, of whoever works on a cell. It is there before the run's own folder is."""
    return f"{folder.name}.cell"


def is_worked_on(folder: Path, by_runner: bool = True) -> bool:
    """Whether a process trains in the run folder now; by_runner: or a runner's process has it for other work."""
    return is_held(folder, "train") or (by_runner and is_held(folder.parent, lock_name(folder)))


def find_run(config: ExperimentConfig, workspace: Workspace) -> Path | None:
    """The cell's run folder, whether it exists or not; None while its data are not preprocessed."""
    try:
        return run_folder(config, workspace)
    except StoreError:
        return None


def read_result(config: ExperimentConfig, folder: Path) -> CellResult | None:
    """The cell's result; None where training or evaluation is not finished, or is not what the cell asks for."""
    try:
        if read_info(weights_path(folder, "last")).epoch != config.train.epochs:
            return None
        report = current_evaluation(folder, config.evaluate)
        if report is None:
            return None
        return CellResult(report, read_predictions(folder, report))
    except TrainingError:
        return None


def status_of(name: str, config: ExperimentConfig, workspace: Workspace) -> CellStatus:
    """Where a cell stands now."""
    folder = find_run(config, workspace)
    metrics = None if folder is None else metrics_path(folder)
    epochs = read_document(metrics).count(b"\n") if metrics is not None and metrics.exists() else 0
    return CellStatus(name, _state_of(config, workspace, folder), folder, epochs, config.train.epochs)


def _state_of(config: ExperimentConfig, workspace: Workspace, folder: Path | None) -> CellState:
    if folder is None:
        return "missing"
    if read_result(config, folder) is not None:
        return "done"
    if is_worked_on(folder):
        return "running"
    return "begun" if folder.exists() else "missing"
