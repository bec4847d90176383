"""Numeric variables of a MAT file, version 5 or 7.3 (HDF5), in bounded memory.

Version 5 is read here: `scipy.io.loadmat` allocates what a header announces and crashes the process on a damaged type
byte, and a recording needs real numeric arrays alone. HDF5 is read in another process (`formats.child`): plain numeric
datasets that lie in the file itself, raw or deflated.
Format: "MAT-File Format" (MathWorks R2019b); the HDF5 File Format Specification 3.0.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .formats.child import MAX_VALUES
from .formats.isolated import read_variables

MAX_BYTES: Final = 1 << 27  # of a file, inflated
_MAX_VARIABLES: Final = 1000
_HEADER_BYTES: Final = 128
_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15  # types of MAT 5's elements
_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES: Final = {
    6: np.float64,
    7: np.float32,
    8: np.int8,
    9: np.uint8,
    10: np.int16,
    11: np.uint16,
    12: np.int32,
    13: np.uint32,
    14: np.int64,
    15: np.uint64,
}
_COMPLEX: Final = 0x0800  # flag


def read_mat(data: bytes, names: Sequence[str], location: str) -> dict[str, NDArray[Any]]:
    """The variables `names` of the MAT file `data`, as stored. Raises SourceError when one is missing or unfit."""
    if len(data) > MAX_BYTES:
        raise SourceError(f"{location}: {len(data)} bytes, the limit for a recording is {MAX_BYTES}")
    if data.startswith(_HDF5_SIGNATURE) or data[512 : 512 + len(_HDF5_SIGNATURE)] == _HDF5_SIGNATURE:
        return read_variables(data, names, location)
    if len(data) >= _HEADER_BYTES and data[126:128] in (b"IM", b"MI"):
        found = _read_mat5(data, names, location)
        for name in names:
            if name not in found:
                raise SourceError(f"{location}: has no variable {name} (found {', '.join(found) or 'none'})")
        return {name: found[name] for name in names}
    raise SourceError(
        f"{location}: is no MAT file of version 5 or 7.3 ({len(data)} bytes, the first: {data[:8].hex() or 'none'}); "
        "fetch it again"
    )


def read_mat5_columns(data: bytes, aliases: Mapping[str, Sequence[str]], location: str) -> dict[str, NDArray[Any]]:
    """The variables of a MAT 5 file, each under the first of its names that is there. Raises SourceError."""
    found = _read_mat5(data, [name for names in aliases.values() for name in names], location)
    columns: dict[str, NDArray[Any]] = {}
    for column, names in aliases.items():
        name = next((name for name in names if name in found), None)
        if name is None:
            raise SourceError(f"{location}: has no variable {' or '.join(names)} (found {', '.join(found) or 'none'})")
        columns[column] = found[name]
    return columns


# MAT 5 ----------------------------------------------------------------------------------------------------------------


def _read_mat5(data: bytes, names: Sequence[str], location: str) -> dict[str, NDArray[Any]]:
    order = "<" if data[126:128] == b"IM" else ">"
    found: dict[str, NDArray[Any]] = {}
    budget = MAX_BYTES
    for kind, content, offset in _elements(memoryview(data), _HEADER_BYTES, order, location):
        where = f"{location}: variable at byte {offset}"
        if kind == _COMPRESSED:
            plain = memoryview(_inflate(content, budget, where))
            budget -= len(plain)
            kind, content, _ = next(_elements(plain, 0, order, where), (0, plain, 0))
        if kind != _MATRIX:
            raise SourceError(f"{where}: is of type {kind}, expected a matrix ({_MATRIX}); fetch the file again")
        name, values = _matrix(content, names, order, where)
        if name in found:
            raise SourceError(f"{where}: has the name {name}, as one before; refused")
        found[name] = values
        if len(found) > _MAX_VARIABLES:
            raise SourceError(f"{where}: more than {_MAX_VARIABLES} variables; a recording has {len(names)}")
    return found


def _elements(data: memoryview, offset: int, order: str, where: str) -> Iterator[tuple[int, memoryview, int]]:
    """The type, content and offset of each element from `offset` on; one of up to 4 bytes may share 8 with its tag."""
    while offset < len(data):
        if len(data) - offset < 8:
            raise SourceError(f"{where}: {len(data) - offset} bytes left over at byte {offset}; the file is truncated")
        kind, num_bytes = struct.unpack_from(f"{order}II", data, offset)
        start, end = offset + 8, offset + 8 + num_bytes
        if kind >> 16:
            kind, num_bytes, start = kind & 0xFFFF, kind >> 16, offset + 4
            end = start + num_bytes
        if end > len(data) or (start == offset + 4 and num_bytes > 4):
            raise SourceError(
                f"{where}: the element at byte {offset} announces {num_bytes} bytes, {len(data) - start} are there; "
                "the file is truncated or damaged: fetch it again"
            )
        yield kind, data[start:end], offset
        offset = end if kind == _COMPRESSED else -(-end // 8) * 8


def _matrix(data: memoryview, names: Sequence[str], order: str, where: str) -> tuple[str, NDArray[Any]]:
    """A variable's name and, where it is one of `names`, its values (otherwise none): flags, shape, name, values."""
    parts = list(islice(_elements(data, 0, order, where), 5))  # one more than a variable may have
    if [kind for kind, _, _ in parts[:3]] != [_UINT32, _INT32, _INT8] or len(parts[0][1]) != 8 or len(parts[1][1]) % 4:
        return f"(at {where})", np.empty(0)  # an object of MATLAB's own, which has no such header
    flags = int(np.frombuffer(parts[0][1], f"{order}u4")[0])
    shape = [int(length) for length in np.frombuffer(parts[1][1], f"{order}i4")]
    name = bytes(parts[2][1]).decode("latin-1")
    if name not in names:
        return name, np.empty(0)
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX or len(parts) != 4 or parts[3][0] not in _TYPES:
        raise SourceError(f"{where}: {name} is no array of real numbers (class {flags & 0xFF}, {len(parts)} parts)")
    _check_num_values(name, shape, where)
    stored = np.dtype(f"{order}{_TYPES[parts[3][0]]}")
    if min(shape, default=0) < 0 or math.prod(shape) * stored.itemsize != len(parts[3][1]):
        raise SourceError(
            f"{where}: {name} announces {_by(shape)} values of {stored}, {len(parts[3][1])} bytes are there"
        )
    values = np.frombuffer(parts[3][1], stored)
    return name, values.astype(_CLASSES[flags & 0xFF]).reshape(shape, order="F")


def _inflate(data: memoryview, limit: int, where: str) -> bytes:
    decoder = zlib.decompressobj()
    try:
        plain = decoder.decompress(data, max(1, limit))
    except zlib.error as error:
        raise SourceError(f"{where}: damaged ({error}); fetch the file again") from error
    if len(plain) >= limit:
        raise SourceError(f"{where}: the file inflates to more than the limit of {MAX_BYTES} bytes; refused")
    if not decoder.eof:
        raise SourceError(f"{where}: its compressed data are truncated; fetch the file again")
    return plain


def _check_num_values(name: str, shape: Sequence[int], where: str) -> None:
    if math.prod(shape) > MAX_VALUES:
        raise SourceError(f"{where}: {name} announces {_by(shape)} values, the limit is {MAX_VALUES}")


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
