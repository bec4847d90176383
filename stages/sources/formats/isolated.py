"""Decoding in another process (`child`), so that a decoder's crash, panic or endless loop costs one file.

Children are kept for the next file and ended with this process. Only a child that answered a request to its end is used
again; whatever else happens to it (an error, an answer that nobody reads to its end) ends it.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import math
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ....cache.errors import SourceError
from ..random_access import FileBytes, RandomAccess, blocks
from . import child as child_script
from .columns import Columns, Pieces, Unit, as_events

IsolatedFormat = Literal["aedat4", "dat", "evt", "hdf5"]

PIECE_EVENTS: Final = 1 << 20
SILENCE_S: Final = 60.0
_PIPE_BYTES: Final = 1 << 20  # fewer turns between the two processes; Linux gives as much to anyone
_HEADER: Final = struct.Struct("<cQ")
_MAX_FRAME_BYTES: Final = 1 << 28


def read_pieces(kind: IsolatedFormat, path: Path, time_unit: Unit = "auto", location: str | None = None) -> Pieces:
    """The sensor size (width, height) that the file states, and its events in pieces of about a million.

    time_unit: of HDF5, see `columns.as_events`; the other formats state theirs. location: how messages name the file.
    Raises SourceError, also while the pieces are read: the file is damaged or something else, or its decoder died or
    was silent for `SILENCE_S`.
    """
    location = location or str(path)
    answer = ask({"reader": kind, "path": str(path.absolute()), "num_events": PIECE_EVENTS}, location)
    size = next(answer)["sensor_size"]
    sensor_size = None if size is None else (int(size[0]), int(size[1]))
    unit: Unit = time_unit if kind == "hdf5" else "us"
    return sensor_size, as_events(answer, unit, sensor_size)


class LocalFile:
    """A recording as a file on disk, as another process needs it; a temporary copy where it lies in an archive.

    Raises OSError, naming the folder, when there is no room for it.
    """

    def __init__(self, content: RandomAccess) -> None:
        self._content = content
        if isinstance(content, FileBytes):
            self.path = content.path
            return
        try:
            descriptor, name = tempfile.mkstemp(prefix="dvs-transfer-")
            weakref.finalize(self, _drop, descriptor, Path(name))
            with open(descriptor, "wb", closefd=False) as copy:
                for block in blocks(content):
                    copy.write(block)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self.path = Path(name)
        if sys.platform == "linux":  # an open file has a name there that goes with this process, however it ends
            self.path.unlink()
            self.path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")

    def read(self, kind: IsolatedFormat, time_unit: Unit) -> Pieces:
        return read_pieces(kind, self.path, time_unit, self._content.location)


def _drop(descriptor: int, path: Path) -> None:
    os.close(descriptor)
    path.unlink(missing_ok=True)


def ask(request: Mapping[str, Any], location: str) -> Generator[Mapping[str, Any]]:
    """What a child answers to a request (see `child`): first the facts, then columns, piece by piece.

    location: how messages name what is read. Raises SourceError as `read_pieces` does.
    """
    child = _take_child()
    try:
        child.ask(request)
        while True:
            kind, payload = child.receive()
            if kind == b"D":
                break
            if kind == b"X":
                problem = bytes(payload).decode(errors="replace")
                raise SourceError(f"{location}: cannot be decoded ({problem}); fetch it again")
            if kind == b"H":
                yield json.loads(bytes(payload))
            else:
                yield _columns(payload)
    except _ChildLostError as error:
        raise SourceError(
            f"{location}: its decoder {error}; the file is damaged, or larger than the decoder can hold: fetch it again"
        ) from None
    except BaseException:  # also when the reader of the pieces stops before their end
        child.end()
        raise
    _give_back(child)


def _columns(payload: memoryview) -> Columns:
    line, _, _ = bytes(payload[:4096]).partition(b"\n")
    offset, columns = len(line) + 1, {}
    for name, dtype, shape in json.loads(line):
        offset += -offset % 8
        columns[name] = np.frombuffer(payload, np.dtype(dtype), math.prod(shape), offset).reshape(shape)
        offset += columns[name].nbytes
    return columns


class _ChildLostError(Exception):
    """The child died or fell silent; the message says how, and it is ended."""


class _Child:
    """A decoding process with its two pipes."""

    def __init__(self) -> None:
        # Isolated (-I): the folder of the script, which has modules named like packages, is not on the import path.
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(child_script.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads take address space
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        with suppress(AttributeError, OSError):  # not Linux, or no such pipe for this user
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN | select.POLLHUP)

    def ask(self, request: Mapping[str, Any]) -> None:
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._lost() from None

    def receive(self) -> tuple[bytes, memoryview]:
        """Kind and content of the next frame. Raises _ChildLostError."""
        kind, size = _HEADER.unpack(self._read(_HEADER.size))
        if size > _MAX_FRAME_BYTES:
            self.end()
            raise _ChildLostError(f"answered with a piece of {size} bytes")
        return kind, self._read(size)

    def _read(self, size: int) -> memoryview:
        buffer = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            if not self._poll.poll(SILENCE_S * 1000):
                self.end()
                raise _ChildLostError(f"was silent for {SILENCE_S:g} s")
            count = self._answers.readinto(buffer[filled:])  # type: ignore[attr-defined]  # unbuffered: a FileIO
            if not count:
                raise self._lost()
            filled += count
        return buffer

    def _lost(self) -> _ChildLostError:
        """How a child that closed its pipes ended."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        return _ChildLostError(f"was ended by signal {-code}" if code and code < 0 else f"ended with exit code {code}")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()


_idle: list[_Child] = []
_idle_lock: Final = threading.Lock()


def _take_child() -> _Child:
    """An idle child, or a new one: there are at most as many as files were read at once."""
    while True:
        with _idle_lock:
            child = _idle.pop() if _idle else None
        if child is None:
            return _Child()
        if child.is_alive:
            return child
        child.end()


def _give_back(child: _Child) -> None:
    with _idle_lock:
        _idle.append(child)


@atexit.register
def end_idle_children() -> None:
    """End the children that wait for a file."""
    with _idle_lock:
        while _idle:
            _idle.pop().end()
