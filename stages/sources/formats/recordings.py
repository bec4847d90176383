"""A file of any known format to a recording: held in memory where it is short, in pieces where it is long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from ..atis import open_records
from ..base import Recording
from ..random_access import RandomAccess
from .aedat2 import aedat2_pieces
from .columnar import read_npy, read_npz, read_text
from .columns import Unit
from .identify import identify
from .isolated import LocalFile
from .mat5 import open_mat5
from .pieces import Pieces, hold_short

_COLUMNAR: Final = {"npy": read_npy, "npz": read_npz, "text": read_text}


def open_recording(content: RandomAccess, suffix: str, time_unit: Unit = "auto") -> Recording:
    """The recording in a file, whose name ends in `suffix` (".bin"); see `identify` for the formats.

    time_unit: see `columns.as_events`. Raises SourceError: no known format, damaged, or no event in it.
    """
    kind = identify(content, suffix.lower())
    open_pieces: Callable[[], Pieces]
    match kind:
        case "atis":
            return open_records(content, None, content.location)
        case "aedat2":
            open_pieces = partial(aedat2_pieces, content.read_at, content.size, content.location)
        case "mat5":
            open_pieces = open_mat5(content, time_unit)
        case "aedat4" | "dat" | "evt" | "hdf5":
            open_pieces = partial(LocalFile(content).read, kind, time_unit)
        case _:
            open_pieces = partial(_COLUMNAR[kind], content, time_unit)
    return hold_short(open_pieces, content.location)
