"""A file of any known format to a recording: held in memory where it is short, in pieces where it is long."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from ...frames.spec import TimeUnit
from ..atis import as_records, decode_pieces
from ..base import AtisRecords, Events, EventStream, Recording
from ..random_access import MAX_READ_BYTES, FileBytes, RandomAccess, blocks
from .aedat2 import aedat2_pieces
from .columnar import Pieces, read_mat5, read_npy, read_npz, read_text
from .columns import join
from .identify import identify
from .isolated import IsolatedFormat, read_pieces

HELD_EVENTS: Final = 1 << 22  # a recording of more is read in pieces; 13 bytes each

_COLUMNAR: Final = {"mat": read_mat5, "npy": read_npy, "npz": read_npz, "text": read_text}


def open_recording(content: RandomAccess, suffix: str, time_unit: TimeUnit = "auto") -> Recording:
    """The recording in a file, whose name ends in `suffix` (".bin"); see `identify` for the formats.

    time_unit: see `columns.as_events`. Raises SourceError: no known format, damaged, or no event in it.
    """
    kind = identify(content, suffix.lower())
    open_pieces: Callable[[], Pieces]
    match kind:
        case "atis":
            return _open_records(content)
        case "aedat2":
            open_pieces = partial(aedat2_pieces, content.read_at, content.size, content.location)
        case "aedat4" | "dat" | "evt" | "hdf5":
            open_pieces = partial(_LocalFile(content).read, kind, time_unit)
        case _:
            open_pieces = partial(_COLUMNAR[kind], content, time_unit)
    return _hold_short(open_pieces, content.location)


def _open_records(content: RandomAccess) -> AtisRecords | EventStream:
    if content.size <= MAX_READ_BYTES:
        return as_records(content.read_at(0, content.size), None, content.location)
    return EventStream(partial(decode_pieces, content))


def _hold_short(open_pieces: Callable[[], Pieces], location: str) -> Events | EventStream:
    """The events, unless there are more than `HELD_EVENTS`; then a stream that opens the file for each pass."""
    sensor_size, pieces = open_pieces()
    held: list[Events] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) > HELD_EVENTS:
            return EventStream(lambda: open_pieces()[1], sensor_size)
    return replace(join(held, location), sensor_size=sensor_size)


class _LocalFile:
    """A recording as a file on disk, as another process needs it; a temporary copy where it lies in an archive."""

    def __init__(self, content: RandomAccess) -> None:
        self._content = content
        if isinstance(content, FileBytes):
            self._path = content.path
            return
        self._copy = tempfile.NamedTemporaryFile(prefix="dvs-transfer-")  # noqa: SIM115  # goes when nobody needs it
        for block in blocks(content):
            self._copy.write(block)
        self._copy.flush()
        self._path = Path(self._copy.name)

    def read(self, kind: IsolatedFormat, time_unit: TimeUnit) -> Pieces:
        return read_pieces(kind, self._path, time_unit, self._content.location)
