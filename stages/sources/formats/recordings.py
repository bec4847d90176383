"""A file of any known format to a recording: held in memory where it is short, in pieces where it is long.

The content tells the format, by signatures: AEDAT (iniVation), Event Stream, DAT and EVT (Prophesee: text lines that
start with "%", then binary words), HDF5, MAT 5, zip (npz), NumPy. Two formats have none: text, which is known by being
text, and the 40-bit records of the ATIS camera (.bin), which are known by their times, that must not run backwards. The
file's name decides only what the content leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Final, Literal

import numpy as np

from ....cache.errors import SourceError
from ..atis import RECORD_BYTES, decode_records, open_records
from ..base import AtisRecords, Recording
from ..random_access import Inflated, RandomAccess
from .columnar import read_npy, read_npz, read_text
from .columns import Pieces, Unit, hold_short
from .isolated import LocalFile
from .mat5 import open_mat5

Format = Literal["aedat2", "aedat3", "aedat4", "atis", "dat", "es", "evt", "hdf5", "mat5", "npy", "npz", "text"]

_START_BYTES: Final = 1 << 16
_MIN_RECORDS: Final = 64  # by chance, so many times are in order once in 10^89 files
_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_GZIP_SIGNATURE: Final = b"\x1f\x8b"
_TEXT: Final = re.compile(  # ASCII; the first line may have letters of UTF-8, comments behind it any
    rb"(?:\xef\xbb\xbf)?(?:(?:[\t\r -~]|[\xc2-\xf4][\x80-\xbf]{1,3})*\n)?(?:[#%][\t\r -~\x80-\xff]*\n)*[\t\n\r -~]+\Z"
)
_OTHERS: Final = {
    b"#ROSBAG": "a ROS bag: write its events as HDF5, NumPy or text",
    b"PAR1": "Parquet: write its events as HDF5, NumPy or text",
}
_SIGNATURES: Final[dict[bytes, Format]] = {
    b"#!AER-DAT4": "aedat4",
    b"#!AER-DAT3.1": "aedat3",
    b"#!AER-DAT2": "aedat2",
    b"Event Stream": "es",
    _HDF5_SIGNATURE: "hdf5",
    b"PK\x03\x04": "npz",
    b"\x93NUMPY": "npy",
}
_COLUMNAR: Final = {"npy": read_npy, "npz": read_npz, "text": read_text}


def open_recording(
    content: RandomAccess,
    suffix: str,
    time_unit: Unit = "auto",
    formats: Collection[Format] = (),
    columns: str = "auto",
) -> Recording:
    """The recording in a file, whose name ends in `suffix` (".bin"), of any format, or of `formats` alone.

    time_unit, columns: see `columns.as_events`, which calls the second `order`. Raises SourceError: no known format,
    damaged, or another one.
    """
    if content.read_at(0, len(_GZIP_SIGNATURE)) == _GZIP_SIGNATURE:
        content = Inflated(content, 31, content.location)
    kind = identify(content, suffix.lower())
    if formats and kind not in formats:
        raise SourceError(
            f"{content.location}: is of the format {kind}, expected {' or '.join(formats)}; fetch it again"
        )
    open_pieces: Callable[[], Pieces]
    match kind:
        case "atis":
            return open_records(content, None, content.location)
        case "aedat2" | "aedat3" | "es" | "dat" | "evt":
            return _open_words(content, kind)
        case "mat5":
            open_pieces = open_mat5(content, time_unit)
        case "aedat4" | "hdf5":
            open_pieces = partial(LocalFile(content).read, kind, time_unit, columns)
        case _:
            open_pieces = partial(_COLUMNAR[kind], content, time_unit, columns)
    return hold_short(open_pieces)


def _open_words(content: RandomAccess, kind: Format) -> Recording:
    from .words import aedat2, aedat31, es, prophesee  # import numba, which takes a second
    from .words.stream import open_words

    match kind:
        case "aedat2":
            return open_words(content, aedat2.words_of(content))
        case "aedat3":
            return open_words(content, aedat31.words_of(content))
        case "es":
            return open_words(content, es.words_of(content))
    header = prophesee.read_header(content)
    assert header is not None
    return open_words(content, prophesee.words_of(content, header))


def identify(content: RandomAccess, suffix: str) -> Format:
    """The format of a file; `suffix` (".bin") is that of its name.

    Raises SourceError: none that is known.
    """
    start = content.read_at(0, _START_BYTES)
    if not start:
        raise SourceError(f"{content.location}: the file is empty, expected a recording; fetch it again")
    for signature, known in _SIGNATURES.items():
        if start.startswith(signature):
            return known
    if start.startswith(b"#!AER-DAT"):
        version = start[9:12].decode("latin-1")
        raise SourceError(
            f"{content.location}: AEDAT of version {version}; 2, 3.1 and 4 are read: convert it (dv, jAER)"
        )
    if start.startswith(b"MATLAB") and start[126:128] in (b"IM", b"MI"):
        return "hdf5" if start[512 : 512 + len(_HDF5_SIGNATURE)] == _HDF5_SIGNATURE else "mat5"
    if start.startswith(b"%"):
        from .words import prophesee

        if header := prophesee.read_header(content):
            return "evt" if prophesee.evt_version(header) else "dat"
    if _TEXT.match(start):
        return "text"
    if suffix == ".bin" or _has_times_in_order(content, start):
        return "atis"
    if start.startswith(b"% "):
        raise SourceError(
            f"{content.location}: its header tells no version of EVT or DAT, as '% evt 3.0' or '% Version 2' does; "
            "write the line, if you know it"
        )
    for signature, what in _OTHERS.items():
        if start.startswith(signature):
            raise SourceError(f"{content.location}: is {what}")
    raise SourceError(
        f"{content.location}: is of no known format ({content.size} bytes, the first: {start[:8].hex()}); "
        "see docs/datasets/your-own.md for those that are read"
    )


def _has_times_in_order(content: RandomAccess, start: bytes) -> bool:
    """Whether the file is whole ATIS records, and its first ones (enough of them) can be read as such."""
    count = len(start) // RECORD_BYTES
    if content.size % RECORD_BYTES or count < _MIN_RECORDS:
        return False
    events = decode_records(AtisRecords(np.frombuffer(start, np.uint8, count * RECORD_BYTES), None))
    return bool(len(events) and events.y.max() < 240 and (events.t[1:] >= events.t[:-1]).all())
