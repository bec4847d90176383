"""Which format a recording's file has, by its content. Its name decides only what the content leaves open.

Signatures: AEDAT (iniVation), DAT and EVT (Prophesee: text lines that start with "%", then binary words), HDF5, MAT 5,
zip (npz), NumPy. Two formats have none: text, which is known by being text, and the 40-bit records of the ATIS camera
(.bin), which are known by their times, that must not run backwards.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import numpy as np

from ....cache.errors import SourceError
from ..atis import RECORD_BYTES, decode_records
from ..base import AtisRecords, UInt8Array
from ..random_access import RandomAccess

Format = Literal["aedat2", "aedat4", "atis", "dat", "evt", "hdf5", "mat5", "npy", "npz", "text"]

_START_BYTES: Final = 1 << 16
_MIN_RECORDS: Final = 64  # by chance, so many times are in order once in 10^89 files
_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_TEXT: Final = re.compile(rb"[\t\n\r -~]+\Z")
_SIGNATURES: Final[dict[bytes, Format]] = {
    b"#!AER-DAT4": "aedat4",
    b"#!AER-DAT2": "aedat2",
    _HDF5_SIGNATURE: "hdf5",
    b"PK\x03\x04": "npz",
    b"\x93NUMPY": "npy",
}
_WORD_BYTES: Final = {"evt2": 4, "evt3": 2, "dat": 8}


def identify(content: RandomAccess, suffix: str) -> Format:
    """The format of a file; `suffix` (".bin") is that of its name.

    Raises SourceError: none that is known, a version that no reader has, or binary words that are cut off.
    """
    start = content.read_at(0, _START_BYTES)
    if not start:
        raise SourceError(f"{content.location}: the file is empty, expected a recording; fetch it again")
    for signature, known in _SIGNATURES.items():
        if start.startswith(signature):
            return known
    if start.startswith(b"#!AER-DAT"):
        version = start[9:12].decode("latin-1")
        raise SourceError(f"{content.location}: AEDAT of version {version}; 2 and 4 are read: convert it (dv, jAER)")
    if start.startswith(b"MATLAB") and start[126:128] in (b"IM", b"MI"):
        return "hdf5" if start[512 : 512 + len(_HDF5_SIGNATURE)] == _HDF5_SIGNATURE else "mat5"
    if start.startswith(b"%") and (found := _identify_words(content, start)):
        return found
    if _TEXT.match(start):
        return "text"
    if suffix == ".bin" or _has_times_in_order(content, start):
        return "atis"
    raise SourceError(
        f"{content.location}: is of no known format ({content.size} bytes, the first: {start[:8].hex()}); "
        "see docs/datasets/your-own.md for those that are read"
    )


def _identify_words(content: RandomAccess, start: bytes) -> Format | None:
    """EVT or DAT; None where the lines that start with "%" are those of something else."""
    header, length = _header(start)
    words = header.lower()
    version = re.search(r"%\s*(?:evt|format evt)\s*([0-9.]+)", words)
    if version:
        kind = {"2": "evt2", "2.0": "evt2", "3": "evt3", "3.0": "evt3"}.get(version[1])
        if kind is None:
            raise SourceError(f"{content.location}: EVT of version {version[1]}; 2 and 3 are read: convert it")
    elif re.search(r"%\s*version\s", words):
        kind, length = "dat", length + 2  # after the text: type and size of the words
    else:
        return None
    rest = (content.size - length) % _WORD_BYTES[kind]
    if rest or content.size < length:
        raise SourceError(
            f"{content.location}: {content.size - length} bytes after the header of {length} bytes are not a whole "
            f"number of {_WORD_BYTES[kind]}-byte words ({rest} left over); the file is truncated: fetch it again"
        )
    return "dat" if kind == "dat" else "evt"


def _header(start: bytes) -> tuple[str, int]:
    """The text lines at the start, and their length in bytes."""
    end = 0
    while start.startswith(b"%", end):
        newline = start.find(b"\n", end)
        if newline < 0:
            break
        line, end = start[end:newline], newline + 1
        if line.strip() == b"% end":
            break
    return start[:end].decode("latin-1"), end


def _has_times_in_order(content: RandomAccess, start: bytes) -> bool:
    """Whether the file is whole ATIS records, and its first ones (enough of them) can be read as such."""
    num_records = len(start) // RECORD_BYTES
    if content.size % RECORD_BYTES or num_records < _MIN_RECORDS:
        return False
    records: UInt8Array = np.frombuffer(start, np.uint8, num_records * RECORD_BYTES)
    try:
        decode_records(AtisRecords(records, None), content.location)
    except SourceError:
        return False
    return True
