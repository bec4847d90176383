"""Processes of our own: one way to start them, to speak to them, to bound them, and to say how they ended.

They work for others of this package: conversions (`pipeline.execution`), decoders and checkpoints that may crash
(`sources.formats.isolated`), and the runs of a study (`pipeline.studies.running`). Each is started anew, never forked,
in a session of its own: a Ctrl-C in the terminal is for the process that started it. It ends with that one, however
that one ends. What connects them is a pair of sockets without a name, so that a kill leaves nothing behind: queues of
`multiprocessing`, and so `concurrent.futures` and dask's own local processes, leave semaphores in /dev/shm.

What a reading process reads comes through memory that both have and that has no name either, two blocks in turns: one
is filled there while the other is copied here. It is copied because the other process may write into it at any time:
what is checked must be what is counted afterwards. The blocks are small, and stay in the processor's cache, so that the
copy costs what writing the array costs. Of values that lie in the file as they are it is told where, and they are read
here. Handing over memory that is sealed against writing would save it, but takes
new pages for each piece, which cost as much, and lets one process wait for the other.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
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


def unnamed_memory(num_bytes: int) -> int:
    """The descriptor of memory that is gone when nobody has it any more; on Linux nobody can take a part away."""
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            file.truncate(num_bytes)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("dvs-transfer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, num_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


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
        shared: tuple[int, ...] = ()
        if script is not None:
            shared = (unnamed_memory(process_main.NUM_BLOCKS * process_main.BLOCK_BYTES),)
            self._blocks = memoryview(mmap.mmap(shared[0], 0, prot=mmap.PROT_READ))
            self._num_copied = 0
        with theirs:
            # Without -P the folder of `process_main`, which has modules named like packages, would be on the path.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(process_main.__file__)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                pass_fds=shared,
            )
        setup = {"path": sys.path, "script": script and str(script), "blocks": next(iter(shared), None)}
        for descriptor in shared:
            os.close(descriptor)
        with suppress(ProcessLostError):  # whoever asks for something is told
            self.send(json.dumps(setup).encode())

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
            message = self._answer()
            if "done" in message:
                return
            if "facts" in message:
                yield message["facts"]
            else:
                yield self._receive_columns(message["columns"], request["path"])

    def _answer(self) -> Any:
        """The next message of a reader that is no error."""
        message = json.loads(self.receive(process_main.SILENCE_S, process_main.PIECE_BYTES))
        if "error" in message:
            if message["ends"]:
                self.end()
            raise RefusedError(message["error"])
        return message

    def _receive_columns(self, announced: list[tuple[str, str, list[int], Any]], path: str) -> dict[str, Any]:
        """The announced columns, copied out of one block after the other, or read in the file."""
        kinds = {name: (np.dtype(dtype), shape) for name, dtype, shape, _ in announced}
        is_wrong = any(dtype.hasobject or min(shape, default=0) < 0 for dtype, shape in kinds.values())
        sizes = {name: math.prod(shape) * dtype.itemsize for name, (dtype, shape) in kinds.items()}
        if is_wrong or sum(sizes.values()) > process_main.PIECE_BYTES:
            raise self._refused("an answer of " + ", ".join(f"{shape} of {dtype}" for dtype, shape in kinds.values()))
        columns = {name: np.empty(shape, dtype) for name, (dtype, shape) in kinds.items()}
        rooms = {name: values.reshape(-1).view("B").data for name, values in columns.items()}
        in_file = {name: places for name, _, _, places in announced if places is not None}
        left = sum(size for name, size in sizes.items() if name not in in_file)
        block = memoryview(b"")
        for name, room in rooms.items():
            while room and name not in in_file:
                block = block or self._next_block()[:left]
                count = min(len(room), len(block))
                room[:count] = block[:count]
                room, block, left = room[count:], block[count:], left - count
                if not block:
                    self.send(b"")
        try:
            for name, places in in_file.items():
                with io.FileIO(path) as file:
                    self._read_places(file, places, rooms[name])
        except OSError as error:
            raise self._refused(str(error)) from None
        return columns

    def _read_places(self, file: io.FileIO, places: list[tuple[int, int]], room: memoryview) -> None:
        for offset, num_bytes in places:
            part, room = room[:num_bytes], room[num_bytes:]
            file.seek(offset)
            while part:
                if not (count := file.readinto(part)):
                    raise self._refused(f"its values at byte {offset} lie after the end of the file")
                part = part[count:]
        if room:
            raise self._refused(f"{len(room)} bytes of its values lie nowhere")

    def _refused(self, problem: str) -> RefusedError:
        """Here, so that the process is in the middle of an answer."""
        self.end()
        return RefusedError(problem)

    def _next_block(self) -> memoryview:
        assert "full" in self._answer()
        start = self._num_copied % process_main.NUM_BLOCKS * process_main.BLOCK_BYTES
        self._num_copied += 1
        return self._blocks[start : start + process_main.BLOCK_BYTES]

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
        """A process for this thread. Whatever goes wrong meanwhile ends it, but a refusal, which is an answer."""
        process = self._take()
        try:
            yield process
        except RefusedError:
            self._put(process)
            raise
        except BaseException:
            process.end()
            raise
        self._put(process)

    def _put(self, process: Process) -> None:
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
