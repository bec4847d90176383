"""Running an experiment: data once, then every cell that is not there yet, side by side, whatever happens to one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace

from ...cache.digests import fingerprint
from ...cache.errors import ConfigError, DvsTransferError
from ...stages.training.stopping import StopSignals
from ..execution import DaskRunner
from ..experiment import preprocess
from ..progress import Reporter
from ..workspace import Workspace
from .cells import Cell, Experiment
from .pools import ClusterPool, LocalPool
from .state import find_run, read_result
from .worker import CellOutcome, CellTask

POLL_S = 0.2
PROCESSES = "processes"


class ExperimentStoppedError(DvsTransferError):
    """A signal stopped the experiment; its cells' states are saved. Exit code: 128 + the signal."""

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}; the same command goes on from there")
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class RunnerConfig:
    """How cells are run. Results are the same, but `threads` decides the last bits of sums.

    parallel: cells at a time, fewer where memory has no room; 0: as cores, or CUDA devices, allow.
    threads: of each cell whose configuration does not say; 0: cores are shared out among all cells of the experiment.
    scheduler: "processes" of this machine, or a dask cluster's address.
    """

    parallel: int = 0
    threads: int = 0
    scheduler: str = PROCESSES

    def __post_init__(self) -> None:
        if self.scheduler != PROCESSES and "://" not in self.scheduler:
            raise ConfigError(f"scheduler {self.scheduler!r}: expected {PROCESSES} or an address like tcp://host:8786")


def run(experiment: Experiment, workspace: Workspace, config: RunnerConfig, reporter: Reporter) -> list[CellOutcome]:
    """Preprocess what the missing cells need, train and evaluate them; an outcome for each cell of the file.

    What goes wrong with a cell, or with the data of some, is in their outcomes. Raises ConfigError: no such cluster;
    ExperimentStoppedError after SIGTERM or Ctrl-C.
    """
    found = {cell.name: _find(cell, workspace) for cell in experiment.cells}
    missing = [cell for cell in experiment.cells if found[cell.name] is None]
    reporter.say(f"{experiment.file.title}: {len(found) - len(missing)} of {len(found)} cells are done")
    threads = config.threads or max(1, (os.cpu_count() or 1) // len(found))
    with _open_pool(config, threads, missing) as pool:
        outcomes = _preprocess(missing, workspace, config, reporter)
        tasks = [_task(cell, workspace, threads) for cell in missing if cell.name not in outcomes]
        outcomes |= _run_all(pool, tasks, reporter)
    return [found[cell.name] or outcomes[cell.name] for cell in experiment.cells]


def cells_by_data(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells that train on the same pair store together."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        data = cell.config.model_dump(mode="json", exclude={"name", "model", "train", "evaluate"})
        groups.setdefault(fingerprint(data), []).append(cell)
    return list(groups.values())


def _preprocess(
    cells: list[Cell], workspace: Workspace, config: RunnerConfig, reporter: Reporter
) -> dict[str, CellOutcome]:
    """Make every pair store that the cells need, each once; the outcomes of the cells whose data cannot be had."""
    convert = DaskRunner(reporter, "threads" if config.scheduler == PROCESSES else config.scheduler)
    outcomes: dict[str, CellOutcome] = {}
    for group in cells_by_data(cells):
        try:
            preprocess(group[0].config, workspace, convert)
        except DvsTransferError as error:
            outcomes |= {cell.name: CellOutcome(cell.name, "failed", message=str(error)) for cell in group}
    return outcomes


def _find(cell: Cell, workspace: Workspace) -> CellOutcome | None:
    """The outcome of a cell that is there already."""
    folder = find_run(cell.config, workspace)
    result = None if folder is None else read_result(cell.config, folder)
    return None if result is None else CellOutcome(cell.name, "found", str(folder), top1=result.report.top1)


def _task(cell: Cell, workspace: Workspace, threads: int) -> CellTask:
    document = cell.config.model_dump(mode="json")
    for section in ("train", "evaluate"):
        document[section]["threads"] = document[section]["threads"] or threads
    return CellTask(cell.name, document, str(workspace.root.resolve()))


def _open_pool(config: RunnerConfig, threads: int, cells: list[Cell]) -> LocalPool | ClusterPool:
    if config.scheduler != PROCESSES:
        return ClusterPool(config.scheduler)
    devices = _cuda_devices() if all(cell.config.train.device in ("auto", "cuda") for cell in cells) else []
    parallel = config.parallel or len(devices) or max(1, (os.cpu_count() or 1) // threads)
    return LocalPool(max(1, min(parallel, len(cells))), devices)


def _cuda_devices() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def _run_all(pool: LocalPool | ClusterPool, tasks: list[CellTask], reporter: Reporter) -> dict[str, CellOutcome]:
    """Every task's outcome by its name. What another runner works on is waited for when all else has begun."""
    outcomes = {}
    with reporter.progress("cells", len(tasks)) as advance, StopSignals(hold=False) as signals:
        waiting = {pool.submit(task): task for task in tasks}
        while waiting and not signals.received:
            for future in wait(waiting, POLL_S, FIRST_COMPLETED).done:
                task = waiting.pop(future)
                outcome = _outcome(future, task)
                if outcome.state == "busy":
                    reporter.say(f"{task.name}: another process works on it; waiting for that one later")
                    waiting[pool.submit(replace(task, waits=True))] = task
                    continue
                outcomes[task.name] = outcome
                reporter.say(_describe(outcome))
                advance()
        if signals.received:
            pool.stop()
            wait(waiting)
            raise ExperimentStoppedError(signals.received)
    return outcomes


def _outcome(future: Future[CellOutcome], task: CellTask) -> CellOutcome:
    try:
        return future.result()
    except CancelledError:
        return CellOutcome(task.name, "stopped")
    except Exception as error:  # a cluster's worker that died: whatever it was, the other cells go on
        return CellOutcome(task.name, "failed", message=f"{type(error).__name__}: {error}")


def _describe(outcome: CellOutcome) -> str:
    if outcome.top1 is None:
        return f"{outcome.name}: {outcome.state}: {outcome.message or ''}"
    return f"{outcome.name}: top-1 {outcome.top1:.1%}, {outcome.seconds:.0f} s"
