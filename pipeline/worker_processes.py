"""Worker processes of this machine, each fed by a thread of its own through a pipe.

`concurrent.futures` and dask share one queue among their processes, whose semaphores have names in /dev/shm: where the
whole group is killed, nobody is left to remove them. A pipe leaves nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from ..cache.errors import DvsTransferError
from ..stages.tasks import Item, Result


class WorkersLostError(DvsTransferError):
    """Worker processes died, or a cluster lost its workers or its scheduler, in the middle."""


class WorkerProcesses:
    """A process for each thread that calls `run`, started (spawned, never forked) with its first call."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()

    def run(self, function: Callable[[Item], Result], item: Item) -> Result:
        """`function(item)` in this thread's process; raises what it raises. Raises WorkersLostError."""
        if not hasattr(self._local, "worker"):
            self._local.worker = _Worker()
            self._workers.append(self._local.worker)
        result: Result = self._local.worker.run(function, item)
        return result


class _Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, function: Callable[[Any], Any], item: Any) -> Any:
        request = pickle.dumps((function, item))
        try:
            self._connection.send_bytes(request)
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            how = f"was ended by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
            raise WorkersLostError(
                f"a worker process {how}, maybe because memory ran out: use fewer (--workers); the same command goes "
                "on where it stopped"
            ) from None
        result, error = pickle.loads(answer)
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self._connection.close()  # ends its loop
        self._process.join(10)
        self._process.kill()
        self._process.join()
        self._process.close()


def _serve(connection: Connection) -> None:
    """What a worker process does until the other end of its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that started this one
    _end_with_parent()
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(request))


def _answer(request: bytes) -> bytes:
    """The result, or the error, also one of unpacking the request; as text where an error cannot be packed."""
    try:
        function, item = pickle.loads(request)
        return pickle.dumps((function(item), None))
    except Exception as error:
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        try:
            packed = pickle.dumps((None, error))
            pickle.loads(packed)  # an error whose constructor takes other arguments cannot be made again
        except Exception:
            packed = pickle.dumps((None, RuntimeError(traceback.format_exc())))
        return packed


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, even by a kill that names that one alone.

    It would go on to write shards whose lock is somebody else's by then.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
