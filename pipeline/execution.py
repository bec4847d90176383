"""Running a stage's tasks on dask: threads or processes of this machine, or a cluster that exists; with progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import dask
from dask.callbacks import Callback
from dask.delayed import delayed

from ..cache.errors import ConfigError, DvsTransferError
from ..stages.processes import ProcessLostError, ProcessPool
from ..stages.tasks import Item, Result, run_serially
from .progress import Reporter

LOCAL_SCHEDULERS = ("threads", "processes", "serial")
GRACE_S = 10.0  # for a process whose work is done


class WorkersLostError(DvsTransferError):
    """Worker processes died, or a cluster lost its workers or its scheduler, in the middle."""


@dataclass(frozen=True)
class DaskRunner:
    """A `TaskRunner` (see `stages.tasks`) on dask.

    scheduler: "threads", "processes" (see `stages.processes`), "serial", or a cluster's address ("tcp://host:8786").
    num_workers: threads or processes of this machine; a cluster has its own.
    """

    reporter: Reporter
    scheduler: str = "threads"
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.scheduler not in LOCAL_SCHEDULERS and "://" not in self.scheduler:
            raise ConfigError(
                f"scheduler {self.scheduler!r}: expected {', '.join(LOCAL_SCHEDULERS)} or an address like tcp://host:8786"
            )
        if self.num_workers < 0:
            raise ConfigError(f"workers {self.num_workers}: expected 1 or more, or 0 for one for each core")

    def __call__(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        counted = self.scheduler in ("threads", "processes")
        where = f"{self.num_workers or os.cpu_count()} {self.scheduler}" if counted else self.scheduler
        self.reporter.detail(f"{label}: {len(items)} tasks, {where}")
        with self.reporter.progress(label, len(items)) as advance:
            if self.scheduler == "serial" or len(items) <= 1:
                for result in run_serially(function, items, label=label):
                    advance()
                    yield result
            elif self.scheduler in LOCAL_SCHEDULERS:
                yield from self._run_here(function, items, advance)
            else:
                yield from _run_on_cluster(self.scheduler, function, items, advance)

    def _run_here(
        self, function: Callable[[Item], Result], items: Sequence[Item], advance: Callable[[], None]
    ) -> Iterator[Result]:
        workers, pool = self.num_workers or os.cpu_count() or 1, ProcessPool()

        def call(item: Item) -> Result:
            if self.scheduler == "threads":
                return function(item)
            try:
                with pool.lend() as process:
                    result: Result = process.call(function, item)
                    return result
            except ProcessLostError as lost:
                raise WorkersLostError(
                    f"a worker process {lost}: use fewer (--workers); the same command goes on where it stopped"
                ) from None

        with ExitStack() as stack:
            stack.callback(pool.end, GRACE_S)
            tasks = [delayed(call, pure=False)(item) for item in items]
            stack.enter_context(Callback(posttask=lambda *_: advance()))
            # After an error, what is under way is waited for.
            threads = stack.enter_context(ThreadPoolExecutor(workers))
            options = {"scheduler": "threads", "pool": threads, "num_workers": workers}
            yield from dask.compute(*tasks, **options, traverse=False, optimize_graph=False)


ALL_CORES: Final = DaskRunner(Reporter(verbosity=0))
"""Threads, one for each core, and nothing is shown."""


def connect(address: str) -> Any:
    """A client of the dask cluster at `address`. Raises ConfigError when none answers."""
    from distributed import Client

    try:
        return Client(address, timeout="10s")
    except (OSError, TimeoutError) as error:
        raise ConfigError(
            f"scheduler {address}: no dask cluster answers there ({error}); start one with `dask scheduler`"
        ) from None


def _run_on_cluster(
    address: str, function: Callable[[Item], Result], items: Sequence[Item], advance: Callable[[], None]
) -> Iterator[Result]:
    from distributed import CancelledError, KilledWorker, as_completed

    results = {}
    with connect(address) as client:
        futures = client.map(function, list(items), pure=False)
        try:
            for future, result in as_completed(futures, with_results=True):
                results[future.key] = result
                future.release()  # a worker that dies later has this one's result no more, and need not have it
                advance()
        except (KilledWorker, CancelledError) as error:
            raise WorkersLostError(
                f"scheduler {address}: its workers died or left ({type(error).__name__}: {error}); see their logs, and "
                "their memory; the same command goes on where it stopped"
            ) from error
    yield from (results[future.key] for future in futures)
