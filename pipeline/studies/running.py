"""Running a study: data once, then every cell that is not there yet, side by side, whatever happens to one."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import psutil

from ...cache.digests import fingerprint
from ...cache.errors import ConfigError, DvsTransferError
from ...stages.processes import Process
from ...stages.training.stopping import StopSignals
from ..execution import DaskRunner, connect
from ..experiment import preprocess
from ..progress import Reporter
from ..workspace import Workspace
from .cells import CellOutcome, CellTask, find_run, read_result, run_cell
from .study import Cell, Study

POLL_S = 0.2
PROCESSES = "processes"
MEMORY_MARGIN = 1.2  # of what a cell takes in its first steps: evaluation may take a little more


class StudyStoppedError(DvsTransferError):
    """A signal stopped the study; its cells' states are saved. Exit code: 128 + the signal."""

    def __init__(self, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}; the same command goes on from there")
        self.exit_code = 128 + signal_number


def run(
    study: Study,
    workspace: Workspace,
    reporter: Reporter,
    *,
    parallel: int = 0,
    threads: int = 0,
    scheduler: str = PROCESSES,
) -> list[CellOutcome]:
    """Preprocess what the missing cells need, train and evaluate them; an outcome for each cell of the file.

    Results are the same however cells are run, but `threads` decides the last bits of sums.

    parallel: cells at a time, fewer where memory has no room; 0: as cores, or CUDA devices, allow.
    threads: of each cell whose configuration does not say; 0: cores are shared out among all cells of the study.
    scheduler: "processes" of this machine, or a dask cluster's address. Its workers must see the workspace under the
    same path; stopped, it takes back what has not begun, and the rest finishes.

    What goes wrong with a cell, or with the data of some, is in their outcomes. Raises ConfigError: no such cluster;
    StudyStoppedError after SIGTERM or Ctrl-C.
    """
    if scheduler != PROCESSES and "://" not in scheduler:
        raise ConfigError(f"scheduler {scheduler!r}: expected {PROCESSES} or an address like tcp://host:8786")
    outcomes: dict[str, CellOutcome] = {}
    for cell in study.cells:
        folder = find_run(cell.config, workspace)
        if folder is not None and (result := read_result(cell.config, folder)) is not None:
            outcomes[cell.name] = CellOutcome.of(cell.name, folder, result)
    missing = [cell for cell in study.cells if cell.name not in outcomes]
    reporter.say(f"{study.file.title}: {len(outcomes)} of {len(study.cells)} cells are done")
    threads = threads or max(1, (os.cpu_count() or 1) // len(study.cells))
    with ExitStack() as stack:
        if scheduler == PROCESSES:
            devices = _cuda_devices() if all(cell.config.train.device in ("auto", "cuda") for cell in missing) else []
            parallel = parallel or len(devices) or max(1, (os.cpu_count() or 1) // threads)
            parallel = max(1, min(parallel, len(missing)))
            pool: CellPool = LocalPool(stack.enter_context(ThreadPoolExecutor(parallel)), parallel, devices)
        else:
            pool = CellPool(stack.enter_context(connect(scheduler)).get_executor(pure=False))
        convert = DaskRunner(reporter, "threads" if scheduler == PROCESSES else scheduler)
        for group in cells_by_data(missing):  # each pair store once
            try:
                preprocess(group[0].config, workspace, convert)
            except DvsTransferError as error:
                outcomes |= {cell.name: CellOutcome(cell.name, "failed", message=str(error)) for cell in group}
        tasks = [_task(cell, workspace, threads) for cell in missing if cell.name not in outcomes]
        outcomes |= run_all(pool, tasks, reporter)
    return [outcomes[cell.name] for cell in study.cells]


def cells_by_data(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells that train on the same pair store together."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        data = cell.config.model_dump(mode="json", exclude={"name", "model", "train", "evaluate", "baseline"})
        groups.setdefault(fingerprint(data), []).append(cell)
    return list(groups.values())


def _task(cell: Cell, workspace: Workspace, threads: int) -> CellTask:
    parts: dict[str, Any] = {"train": cell.config.train, "evaluate": cell.config.evaluate}
    own = {name: part.model_copy(update={"threads": part.threads or threads}) for name, part in parts.items()}
    return CellTask(cell.name, cell.config.model_copy(update=own), workspace.resolve())


def _cuda_devices() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


class CellPool:
    """An executor's workers run the cells, each in a process that the worker starts.

    num_restarts: how often a cell is begun again whose process somebody else told to stop. On a cluster that is whoever
    takes a worker's machine back; dask begins a task as often again whose worker died.
    """

    num_restarts = 3

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._work: Callable[[CellTask], CellOutcome] = run_cell
        self._futures: list[Future[CellOutcome]] = []

    def submit(self, task: CellTask) -> Future[CellOutcome]:
        self._futures.append(self._executor.submit(self._work, task))
        return self._futures[-1]

    def stop(self) -> None:
        """Take back what has not begun."""
        for future in self._futures:
            future.cancel()


class LocalPool(CellPool):
    """Up to `parallel` cells at a time on this machine, fewer where its free memory has no room for one more.

    It goes by the largest cell seen; one may always run, and until it has told what it takes, it runs alone.
    threads: as many; each waits for a process.
    devices: CUDA devices to spread the cells over, as CUDA_VISIBLE_DEVICES names them; none: cells see what there is.
    """

    num_restarts = 0

    def __init__(self, threads: ThreadPoolExecutor, parallel: int, devices: list[str]) -> None:
        super().__init__(threads)
        self._work = self._run
        self._free = [devices[index % len(devices)] if devices else None for index in range(parallel)]
        self._changed = threading.Condition()
        self._parallel = parallel
        self._processes: list[Process] = []
        self._growing: set[str] = set()  # of those that run: did not tell yet what they take
        self._largest = 0
        self._stopping = False

    def stop(self) -> None:
        """Also, let the cells under way save their state and leave."""
        super().stop()
        with self._changed:
            self._stopping = True
            for process in self._processes:
                process.stop()
            self._changed.notify_all()

    def _run(self, task: CellTask) -> CellOutcome:
        with self._changed:
            while len(self._free) < self._parallel and not self._has_room() and not self._stopping:
                self._changed.wait(timeout=0.5)
            if self._stopping:
                return CellOutcome(task.name, "stopped")
            device = self._free.pop(0)
            self._growing.add(task.name)
        if device is not None:
            task = replace(task, environment={"CUDA_VISIBLE_DEVICES": device})
        try:
            return run_cell(task, self._note_start, lambda num_bytes: self._note_memory(task, num_bytes))
        finally:
            self._note_memory(task, 0)
            with self._changed:
                self._free.append(device)
                self._changed.notify_all()

    def _has_room(self) -> bool:
        needed = self._largest * (len(self._growing) + 1) * MEMORY_MARGIN
        return self._largest > 0 and bool(psutil.virtual_memory().available >= needed)

    def _note_start(self, process: Process) -> None:
        with self._changed:
            self._processes.append(process)
            if self._stopping:
                process.stop()

    def _note_memory(self, task: CellTask, num_bytes: int) -> None:
        with self._changed:
            self._largest = max(self._largest, num_bytes)
            self._growing.discard(task.name)
            self._changed.notify_all()


def run_all(pool: CellPool, tasks: list[CellTask], reporter: Reporter) -> dict[str, CellOutcome]:
    """Every task's outcome by its name. What another process works on is waited for when all else has begun."""
    outcomes = {}
    restarts: Counter[str] = Counter()
    with reporter.progress("cells", len(tasks)) as advance, StopSignals(hold=False) as signals:
        waiting = {pool.submit(task): task for task in tasks}
        try:
            while waiting and not signals.received:
                for future in wait(waiting, POLL_S, FIRST_COMPLETED).done:
                    task = waiting.pop(future)
                    try:
                        outcome = future.result()
                    except CancelledError:
                        dropped = "dropped by the cluster, whose scheduler has ended or was told to cancel it"
                        outcome = CellOutcome(task.name, "failed", message=dropped)
                    except Exception as error:  # a cluster's worker that died: whatever it was, the other cells go on
                        outcome = CellOutcome(task.name, "failed", message=f"{type(error).__name__}: {error}")
                    if outcome.state == "busy":
                        reporter.say(f"{task.name}: another process works on it; waiting for that one later")
                        waiting[pool.submit(replace(task, waits=True))] = task
                        continue
                    if outcome.state == "stopped" and restarts[task.name] < pool.num_restarts:
                        restarts[task.name] += 1
                        reporter.say(f"{task.name}: its process was told to stop; it is begun again")
                        waiting[pool.submit(task)] = task
                        continue
                    outcomes[task.name] = outcome
                    failure = f"{outcome.state}: {outcome.message or ''}"
                    done = f"top-1 {outcome.top1 or 0:.1%} ({outcome.epoch}), {outcome.seconds:.0f} s"
                    reporter.say(f"{outcome.name}: {failure if outcome.top1 is None else done}")
                    advance()
            if signals.received:
                raise StudyStoppedError(signals.received)
        except BaseException:
            pool.stop()
            wait(waiting)
            raise
    return outcomes
