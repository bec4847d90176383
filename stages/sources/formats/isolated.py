"""Decoding in another process (`child`), so that a decoder's crash, panic or endless loop costs one file.

The processes are kept for the next file and ended with this one.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from ....cache.errors import SourceError
from ...processes import Process, ProcessLostError, ProcessPool, RefusedError
from ..random_access import FileBytes, RandomAccess, blocks
from . import child
from .child_hdf5 import UnsupportedError
from .columns import Pieces, Unit, as_events

IsolatedFormat = Literal["aedat4", "hdf5"]

PIECE_EVENTS: Final = 1 << 20

DECODERS: Final = ProcessPool(
    lambda: Process(
        Path(str(child.__file__)),
        environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads take address space
        stderr=subprocess.DEVNULL,
    )
)
atexit.register(DECODERS.end)


def read_pieces(
    kind: IsolatedFormat, path: Path, time_unit: Unit = "auto", location: str | None = None, columns: str = "auto"
) -> Pieces:
    """The sensor size (width, height) that the file states, and its events in pieces of about a million.

    time_unit, columns: of HDF5, see `columns.as_events`; AEDAT 4 states its own. location: how messages name the file.
    Raises SourceError, also while the pieces are read: the file is damaged or something else, or its decoder died or
    was silent for `process_main.SILENCE_S`.
    """
    location = location or str(path)
    answer = ask({"reader": kind, "path": str(path.absolute()), "num_events": PIECE_EVENTS}, location)
    size = next(answer)["sensor_size"]
    sensor_size = None if size is None else (int(size[0]), int(size[1]))
    unit: Unit = time_unit if kind == "hdf5" else "us"
    return sensor_size, as_events(answer, unit, sensor_size, order=columns, location=location)


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

    def read(self, kind: IsolatedFormat, time_unit: Unit, columns: str = "auto") -> Pieces:
        return read_pieces(kind, self.path, time_unit, self._content.location, columns)


def _drop(descriptor: int, path: Path) -> None:
    os.close(descriptor)
    path.unlink(missing_ok=True)


def ask(request: Mapping[str, Any], location: str) -> Generator[Mapping[str, Any]]:
    """What a decoder answers to a request: first the facts, then columns, piece by piece (see `child.READERS`).

    location: how messages name what is read. Raises SourceError as `read_pieces` does.
    """
    try:
        with DECODERS.lend() as decoder:
            yield from decoder.read(request)
    except RefusedError as problem:
        kind, _, told = str(problem).partition(": ")
        if kind == UnsupportedError.__name__:
            raise SourceError(f"{location}: {told}") from None
        raise SourceError(f"{location}: cannot be decoded ({problem}); fetch it again") from None
    except ProcessLostError as lost:
        raise SourceError(
            f"{location}: its decoder {lost}; the file is damaged, or larger than the decoder can hold: fetch it again"
        ) from None
