"""Where cells run: processes of this machine, as many at a time as its memory has room for, or a dask cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import IO, Any

import psutil

from ..execution import connect
from .worker import CellOutcome, CellTask, run_cell

MEMORY_MARGIN = 1.2  # of what a cell takes in its first steps: evaluation may take a little more


class LocalPool:
    """Context manager: up to `parallel` cells at a time, each in a process of this machine.

    devices: CUDA devices to spread the cells over, as CUDA_VISIBLE_DEVICES names them; none: cells see what there is.
    """

    def __init__(self, parallel: int, devices: list[str]) -> None:
        self._executor = ThreadPoolExecutor(parallel)  # a thread waits for each process
        self._devices: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for index in range(parallel):
            self._devices.put(devices[index % len(devices)] if devices else None)
        self._room = MemoryRoom()
        self._lock = threading.Lock()
        self._leashes: list[IO[bytes]] = []
        self._stopping = threading.Event()

    def submit(self, task: CellTask) -> Future[CellOutcome]:
        return self._executor.submit(self._run, task)

    def stop(self) -> None:
        """Let the cells under way save their state and leave, and start no other."""
        with self._lock:
            self._stopping.set()
            for leash in self._leashes:
                leash.close()

    def _run(self, task: CellTask) -> CellOutcome:
        device = self._devices.get()
        if device is not None:
            task = replace(task, environment={"CUDA_VISIBLE_DEVICES": device})
        try:
            with self._room.enter(self._stopping) as tell_memory:
                if self._stopping.is_set():
                    return CellOutcome(task.name, "stopped")
                return run_cell(task, self._hold, tell_memory)
        finally:
            self._devices.put(device)

    def _hold(self, leash: IO[bytes]) -> None:
        with self._lock:
            self._leashes.append(leash)
            if self._stopping.is_set():
                leash.close()

    def __enter__(self) -> LocalPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
        self._executor.shutdown(cancel_futures=True)


class MemoryRoom:
    """Lets a cell start where the free memory has room for one more, going by the largest one seen; one always may.

    Until a first cell has told what it takes, it runs alone.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._largest = 0
        self._running = 0
        self._growing = 0  # of those that run: did not tell yet what they take

    @contextmanager
    def enter(self, stopping: threading.Event) -> Iterator[Callable[[int], None]]:
        """Wait for room, or until `stopping`; gives the function that is told the bytes which the cell takes."""
        with self._changed:
            while self._running and not self._has_room() and not stopping.is_set():
                self._changed.wait(timeout=0.5)
            self._running += 1
            self._growing += 1
        told = False

        def tell(num_bytes: int) -> None:
            nonlocal told
            with self._changed:
                self._largest = max(self._largest, num_bytes)
                self._growing -= not told
                told = True
                self._changed.notify_all()

        try:
            yield tell
        finally:
            tell(0)
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _has_room(self) -> bool:
        needed = self._largest * (self._growing + 1) * MEMORY_MARGIN
        return self._largest > 0 and psutil.virtual_memory().available >= needed


class ClusterPool:
    """Context manager: a dask cluster's workers run the cells, each in a process that the worker starts.

    They must see the workspace under the same path. `stop` takes back what has not begun; the rest finishes.
    """

    def __init__(self, address: str) -> None:
        self._client: Any = connect(address)
        self._executor = self._client.get_executor(pure=False)
        self._futures: list[Future[CellOutcome]] = []

    def submit(self, task: CellTask) -> Future[CellOutcome]:
        future: Future[CellOutcome] = self._executor.submit(run_cell, task)
        self._futures.append(future)
        return future

    def stop(self) -> None:
        for future in self._futures:
            future.cancel()

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
