"""Recordings in MAT files of version 5, read in pieces. Version 7.3 is HDF5, read in another process (`child`).

`scipy.io.loadmat` within the limits of the child was measured for it, and is not used: it holds the variables whole, so
that a worker took 1.4 GB for 110 million events (1.43 GB of file) where pieces take 0.3 GB, and refused a file of
2.0 GB, which must give the frames that it gives held whole (docs/reliability.md).
Format: "MAT-File Format" (MathWorks R2019b).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import numpy as np

from ....cache.errors import SourceError
from ..random_access import Inflated, InMemory, RandomAccess, Slice
from .columnar import PIECE_EVENTS, StoredArray, stored_pieces
from .columns import Columns, Pieces, Unit, as_events, match_columns

MAX_VARIABLES: Final = 1000
FREE_RATIO_BYTES: Final = 1 << 24  # a column of one value, such as a single polarity, deflates 1000 times
_HEADER_BYTES: Final = 128
_START_BYTES: Final = 1 << 12  # of a variable: its flags, shape and name
_MAX_HEADER_PART: Final = 128  # bytes: 32 dimensions; MATLAB's names have up to 63 letters
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15  # types of MAT 5's elements
_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES: Final = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX: Final = 0x0800  # flag

_TACTILE: Final = "spiketrain"
_TACTILE_SIZE: Final = (10, 10)
_TAXELS: Final = 100

_Element = tuple[int, RandomAccess, int]
"""Type, content, and offset in what it lies in."""


def open_mat5(content: RandomAccess, time_unit: Unit) -> Callable[[], Pieces]:
    """The variables x, y, t and p (see `child_hdf5.COLUMN_NAMES`), each of shape (n,), (n, 1) or (1, n), or ST-MNIST's
    `spiketrain`; opened once.

    Raises SourceError: one is missing, or no array of real numbers, or the file is damaged or cut off.
    """
    location = content.location
    order = "<" if content.read_at(126, 2) == b"IM" else ">"
    variables: dict[str, _Element] = {}
    for element in _elements(content, _HEADER_BYTES, order, location):
        where = f"{location}: variable at byte {element[2]}"
        header = _header(_matrix(element, order, where, whole=False), order, where)
        name = ascii(header[2].decode("latin-1"))[1:-1] if header else f"(at byte {element[2]})"
        if name in variables:
            raise SourceError(f"{where}: has the name {name}, as one before; refused")
        variables[name] = element
        if len(variables) > MAX_VARIABLES:
            raise SourceError(f"{where}: more than {MAX_VARIABLES} variables; a recording has 4")
    chosen = match_columns(variables, location)
    if chosen is None and _TACTILE in variables:
        trains = _open(variables[_TACTILE], _TACTILE, order, location, rows=_TAXELS + 1)
        return lambda: (_TACTILE_SIZE, as_events(_tactile_pieces(trains), "s", _TACTILE_SIZE))
    if chosen is None:
        found = ", ".join(list(variables)[:20]) or "none"
        raise SourceError(
            f"{location}: expected the variables x, y, t and p, found {found}; of a struct S with these fields write "
            "them with MATLAB's save(file, '-struct', 'S')"
        )
    arrays = {column: _open(variables[name], name, order, location) for column, name in chosen.items()}
    return lambda: (None, as_events(stored_pieces(arrays, location), time_unit, location=location))


def _tactile_pieces(trains: StoredArray) -> Iterator[Columns]:
    """The events of the tactile sensor of See et al. 2020 (arXiv:2005.04319), whose 10 x 10 taxels spike as pixels do.

    A column of the matrix is a moment: the spikes of the taxels, -1, 0 or 1, row by row, then the time in s. So
    tonic read them (its STMNIST is gone from 1.7), but cut off parts of a microsecond, where this rounds.
    """
    column = _TAXELS + 1
    step = column * (PIECE_EVENTS // column)
    for start in range(0, trains.length, step):
        moments = trains.read(start, start + step).reshape(-1, column)
        moment, taxel = np.nonzero(moments[:, :-1])
        width = _TACTILE_SIZE[0]
        yield {"x": taxel % width, "y": taxel // width, "t": moments[moment, -1], "p": moments[moment, taxel]}


def _open(variable: _Element, name: str, order: str, location: str, rows: int | None = None) -> StoredArray:
    """The values of a variable, of a matrix with `rows` column by column.

    Raises SourceError when they are no numbers or others than announced.
    """
    where = f"{location}: {name}"
    matrix = _matrix(variable, order, where, whole=True)
    flags_and_class, lengths, _ = _header(matrix, order, where)
    parts = list(islice(_elements(matrix, 0, order, where), 5))
    flags = int(np.frombuffer(flags_and_class, f"{order}u4")[0]) if len(flags_and_class) == 8 else 0
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX or len(parts) != 4 or parts[3][0] not in _TYPES:
        raise SourceError(f"{where} is no array of real numbers (class {flags & 0xFF})")
    shape = np.frombuffer(lengths, f"{order}i4", len(lengths) // 4).tolist()
    kind, values, _ = parts[3]
    stored = np.dtype(f"{order}{_TYPES[kind]}")
    announced = " x ".join(map(str, shape))
    if min(shape, default=0) < 0 or math.prod(shape) * stored.itemsize != values.size:
        raise SourceError(f"{where} announces {announced} values of {stored}, {values.size} bytes are there")
    fits = math.prod(shape) == max(shape, default=0) if rows is None else len(shape) == 2 and shape[0] == rows
    if not fits:
        expected = "n, n x 1 or 1 x n" if rows is None else f"{rows} x n"
        raise SourceError(f"{where} has the shape {announced}, expected {expected}")
    meant = np.dtype(_CLASSES[flags & 0xFF])  # MATLAB stores values in a smaller type where they fit into it
    return StoredArray(values, 0, stored, math.prod(shape), meant)


def _header(matrix: RandomAccess, order: str, where: str) -> list[bytes]:
    """The content of the first three parts: flags, shape and name; [] of what has other ones, such as an object."""
    parts = list(islice(_elements(matrix, 0, order, where), 3))
    if [kind for kind, _, _ in parts] != [_UINT32, _INT32, _INT8]:
        return []
    if max(part.size for _, part, _ in parts) > _MAX_HEADER_PART:
        return []  # none that MATLAB writes
    return [part.read_at(0, part.size) for _, part, _ in parts]


def _matrix(variable: _Element, order: str, where: str, *, whole: bool) -> RandomAccess:
    """The parts of a variable, maybe compressed; then, unless `whole`, just the beginning. Raises SourceError."""
    kind, content, _ = variable
    if kind == _COMPRESSED:
        if whole:
            plain: RandomAccess = Inflated(content, 15, where, FREE_RATIO_BYTES)
        else:
            try:
                plain = InMemory(zlib.decompressobj().decompress(content.read_at(0, _START_BYTES), _START_BYTES), where)
            except zlib.error as error:
                raise SourceError(f"{where}: damaged ({error}); fetch the file again") from error
        if plain.size < 8:
            raise SourceError(f"{where}: its compressed data are truncated; fetch the file again")
        kind, size = struct.unpack(f"{order}II", plain.read_at(0, 8))
        if whole and not 8 + size <= plain.size <= 16 + size:  # padding
            raise SourceError(f"{where}: {plain.size} bytes inflated, {8 + size} announced; fetch it again")
        content = Slice(plain, 8, size if whole else min(size, plain.size - 8), where)
    if kind != _MATRIX:
        raise SourceError(f"{where}: is of type {kind}, expected a matrix ({_MATRIX}); fetch the file again")
    return content


def _elements(content: RandomAccess, offset: int, order: str, where: str) -> Iterator[_Element]:
    """The elements from `offset` on; one of up to 4 bytes may share 8 with its tag. Raises SourceError."""
    while offset < content.size:
        tag = content.read_at(offset, 8)
        if len(tag) < 8:
            raise SourceError(f"{where}: {len(tag)} bytes left over at byte {offset}; the file is truncated")
        kind, num_bytes = struct.unpack(f"{order}II", tag)
        start = offset + 8
        if kind >> 16:
            kind, num_bytes, start = kind & 0xFFFF, kind >> 16, offset + 4
        end = start + num_bytes
        if end > content.size or (start == offset + 4 and num_bytes > 4):
            raise SourceError(
                f"{where}: the element at byte {offset} announces {num_bytes} bytes, {content.size - start} are there; "
                "the file is truncated or damaged: fetch it again"
            )
        yield kind, Slice(content, start, num_bytes, where), offset
        offset = end if kind == _COMPRESSED else offset + -(-(end - offset) // 8) * 8
