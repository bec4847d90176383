"""Processes of our own: one way to start them, to speak to them, to bound them, and to say how they ended.

They work for others of this package: conversions (`pipeline.execution`), decoders and checkpoints that may crash
(`sources.formats.isolated`), and the runs of a study (`pipeline.studies.running`). Each is started anew, never forked,
in a session of its own: a Ctrl-C in the terminal is for the process that started it. It ends with that one, however
that one ends. What connects them is a pair of sockets without a name, so that a kill leaves nothing behind: queues of
`multiprocessing`, and so `concurrent.futures` and dask's own local processes, leave semaphores in /dev/shm.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..cache.errors import DvsTransferError
from . import process_main


class ProcessLostError(DvsTransferError):
    """A process ended, or was ended because it was silent or said too much; the message says how, without a subject.

    code: its exit code, negative for a signal; None where it did not end by itself.
    """

    def __init__(self, how: str, code: int | None = None) -> None:
        super().__init__(how)
        self.code = code


class RefusedError(DvsTransferError):
    """A reading process could not read what it was asked for; the message is its own."""


class Process:
    """One of them. script: see `process_main`. stderr: as of `subprocess.Popen`; what it prints goes there, too."""

    def __init__(
        self,
        script: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            # Without -P the folder of `process_main`, which has modules named like packages, would be on the path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(process_main.__file__)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        with suppress(ProcessLostError):  # whoever asks for something is told
            self.send(json.dumps({"path": sys.path, "script": script and str(script)}).encode())

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, request: bytes) -> None:
        """Raises ProcessLostError."""
        try:
            self._connection.send_bytes(request)
        except OSError:
            raise self._lost() from None

    def receive(self, silence_s: float | None = None, max_bytes: int | None = None) -> bytes:
        """The next message. Raises ProcessLostError, and the process is ended then."""
        try:
            self._wait(silence_s)
            return self._connection.recv_bytes(max_bytes)
        except (EOFError, ConnectionError):
            raise self._lost() from None
        except OSError:  # as the connection says that a message is too long
            self.end()
            raise ProcessLostError(f"answered with more than {max_bytes} bytes") from None

    def call(self, function: Callable[..., Any], *arguments: Any, on_note: Callable[[Any], None] | None = None) -> Any:
        """`function(*arguments)` there; with `on_note` it gets a function more, and what it gives that comes here.

        Raises what it raises, and ProcessLostError.
        """
        self.send(pickle.dumps((function, arguments, on_note is not None)))
        while True:
            kind, value = pickle.loads(self.receive())
            if kind == "result":
                return value
            if kind == "error":
                raise value
            if on_note is not None:
                on_note(value)

    def read(self, request: Mapping[str, Any]) -> Generator[Mapping[str, Any]]:
        """What the script's reader answers: first its facts, then columns (name -> array), piece by piece.

        Raises RefusedError, ProcessLostError.
        """
        self.send(json.dumps(request).encode())
        while True:
            message = json.loads(self.receive(process_main.SILENCE_S, process_main.PIECE_BYTES))
            if "done" in message:
                return
            if "error" in message:
                raise RefusedError(message["error"])
            if "facts" in message:
                yield message["facts"]
            else:
                yield {name: self._receive_column(np.dtype(dtype), shape) for name, dtype, shape in message["columns"]}

    def _receive_column(self, dtype: np.dtype[Any], shape: list[int]) -> Any:
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > process_main.PIECE_BYTES:
            raise RefusedError(f"an answer of {shape} of {dtype}")
        column = np.empty(shape, dtype)
        left = column.reshape(-1).view("B").data
        while left:
            self._wait(process_main.SILENCE_S)
            with suppress(ConnectionError):
                count = 0
                count = os.readv(self._connection.fileno(), [left])
            if not count:
                raise self._lost()
            left = left[count:]
        return column

    def _wait(self, silence_s: float | None) -> None:
        if not self._connection.poll(silence_s):
            self.end()
            raise ProcessLostError(f"was silent for {silence_s:g} s")

    def _lost(self) -> ProcessLostError:
        """How a process that closed its end of the connection ended."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        if code is None or code >= 0:
            return ProcessLostError(f"ended with exit code {code}", code)
        hint = ", maybe because memory ran out" if code == -signal.SIGKILL else ""
        return ProcessLostError(f"was ended by signal {-code} ({signal.strsignal(-code)}){hint}", code)

    def stop(self) -> None:
        """Tell it to save what it must and leave (SIGTERM)."""
        self._process.terminate()

    def let_go(self) -> None:
        """It leaves by itself when its work is done."""
        self._connection.close()

    def end(self, grace_s: float = 0.0) -> None:
        """End it: one that waits for a request has `grace_s` to leave by itself."""
        self.let_go()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ProcessPool:
    """Processes that are kept for whoever needs one next; at most as many as were lent at once."""

    def __init__(self, start: Callable[[], Process] = Process) -> None:
        self._start = start
        self._idle: list[Process] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[Process]:
        """A process for this thread. Whatever goes wrong meanwhile ends it; it is not used again."""
        process = self._take()
        try:
            yield process
        except BaseException:
            process.end()
            raise
        with self._lock:
            self._idle.append(process)

    def _take(self) -> Process:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return self._start()
            if process.is_alive:
                return process
            process.end()

    def end(self, grace_s: float = 0.0) -> None:
        """End those that are lent to nobody."""
        with self._lock:
            for process in self._idle:
                process.let_go()
            while self._idle:
                self._idle.pop().end(grace_s)
