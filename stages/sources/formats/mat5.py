"""Recordings in MAT files of version 5, read in pieces. Version 7.3 is HDF5, read in another process (`child`).

`scipy.io.loadmat` is not used: it holds the whole file, allocates what a header announces and crashes the process on a
damaged type byte; and a recording needs real numeric arrays alone.
Format: "MAT-File Format" (MathWorks R2019b).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from ....cache.errors import SourceError
from ..random_access import Inflated, InMemory, RandomAccess, Slice, blocks
from .child import match
from .columnar import StoredArray, stored_pieces
from .columns import Unit, as_events
from .pieces import Pieces

MAX_VARIABLES: Final = 1000
_HELD_BYTES: Final = 1 << 24  # of a compressed variable; a larger one is inflated anew for each pass
_HEADER_BYTES: Final = 128
_START_BYTES: Final = 1 << 12  # of a variable: its flags, shape and name
_MAX_HEADER_PART: Final = 128  # bytes: 32 dimensions; MATLAB's names have up to 63 letters
_BLOCK_BYTES: Final = 1 << 18
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15  # types of MAT 5's elements
_TYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES: Final = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX: Final = 0x0800  # flag


def open_mat5(content: RandomAccess, time_unit: Unit) -> Callable[[], Pieces]:
    """The variables x, y, t and p (see `child.COLUMN_NAMES`), each of shape (n,), (n, 1) or (1, n); opened once.

    Raises SourceError: one is missing, or no array of real numbers, or the file is damaged or cut off.
    """
    variables = _list_variables(content)
    chosen = match(variables)
    if chosen is None:
        found = ", ".join(list(variables)[:20]) or "none"
        raise SourceError(f"{content.location}: expected the variables x, y, t and p, found {found}")
    arrays = {column: variables[name].open(name) for column, name in chosen.items()}
    return lambda: (None, as_events(stored_pieces(arrays, content.location), content.location, time_unit))


@dataclass(frozen=True, slots=True)
class _Variable:
    """An element of the file that holds a variable, maybe compressed; `where` names it in messages."""

    kind: int
    element: RandomAccess
    order: str
    where: str

    def header(self) -> list[bytes]:
        """The content of its first three parts: flags, shape and name; [] for what has other ones."""
        parts = list(islice(_elements(self._matrix(whole=False), 0, self.order, self.where), 3))
        if [kind for kind, _, _ in parts] != [_UINT32, _INT32, _INT8]:
            return []  # an object of MATLAB's own
        if max(part.size for _, part, _ in parts) > _MAX_HEADER_PART:
            return []  # none that MATLAB writes
        return [part.read_at(0, part.size) for _, part, _ in parts]

    def open(self, name: str) -> StoredArray:
        """Its values. Raises SourceError when they are no numbers or others than announced."""
        flags_and_class, lengths, _ = self.header()
        parts = list(islice(_elements(self._matrix(whole=True), 0, self.order, self.where), 5))
        flags = int(np.frombuffer(flags_and_class, f"{self.order}u4")[0]) if len(flags_and_class) == 8 else 0
        if flags & 0xFF not in _CLASSES or flags & _COMPLEX or len(parts) != 4 or parts[3][0] not in _TYPES:
            raise SourceError(f"{self.where}: {name} is no array of real numbers (class {flags & 0xFF})")
        shape = np.frombuffer(lengths, f"{self.order}i4", len(lengths) // 4).tolist()
        kind, values, _ = parts[3]
        stored = np.dtype(f"{self.order}{_TYPES[kind]}")
        announced = " x ".join(map(str, shape))
        if min(shape, default=0) < 0 or math.prod(shape) * stored.itemsize != values.size:
            raise SourceError(
                f"{self.where}: {name} announces {announced} values of {stored}, {values.size} bytes are there"
            )
        if math.prod(shape) != max(shape, default=0):
            raise SourceError(f"{self.where}: {name} has the shape {announced}, expected n, n x 1 or 1 x n")
        return StoredArray(values, 0, stored, max(shape), np.dtype(_CLASSES[flags & 0xFF]))

    def _matrix(self, whole: bool) -> RandomAccess:
        """The parts of the variable; unless `whole`, of a compressed one just the beginning."""
        kind, content = self.kind, self.element
        if kind == _COMPRESSED:
            start, _ = _inflate(self.element, _START_BYTES, self.where)
            if len(start) < 8:
                raise SourceError(f"{self.where}: its compressed data are truncated; fetch the file again")
            kind, size = struct.unpack_from(f"{self.order}II", start)
            plain: RandomAccess = InMemory(start, self.where)
            if whole and size <= _HELD_BYTES:
                held, is_complete = _inflate(self.element, size + 16, self.where)  # tag, padding
                if not is_complete:
                    raise SourceError(f"{self.where}: compressed data that do not end where announced; refused")
                plain = InMemory(held, self.where)
            elif whole:
                plain = Inflated(self.element, 15, self.where)
            if whole and not 8 + size <= plain.size <= 16 + size:
                raise SourceError(f"{self.where}: {plain.size} bytes inflated, {8 + size} announced; fetch it again")
            content = Slice(plain, 8, min(size, plain.size - 8), self.where)
        if kind != _MATRIX:
            raise SourceError(f"{self.where}: is of type {kind}, expected a matrix ({_MATRIX}); fetch the file again")
        return content


def _list_variables(content: RandomAccess) -> dict[str, _Variable]:
    """The variables by name. Raises SourceError."""
    order = "<" if content.read_at(126, 2) == b"IM" else ">"
    found: dict[str, _Variable] = {}
    for kind, element, offset in _elements(content, _HEADER_BYTES, order, content.location):
        variable = _Variable(kind, element, order, f"{content.location}: variable at byte {offset}")
        header = variable.header()
        name = ascii(header[2].decode("latin-1"))[1:-1] if header else f"(at byte {offset})"
        if name in found:
            raise SourceError(f"{variable.where}: has the name {name}, as one before; refused")
        found[name] = variable
        if len(found) > MAX_VARIABLES:
            raise SourceError(f"{variable.where}: more than {MAX_VARIABLES} variables; a recording has 4")
    return found


def _elements(content: RandomAccess, offset: int, order: str, where: str) -> Iterator[tuple[int, RandomAccess, int]]:
    """The type, content and offset of each element from `offset` on; one of up to 4 bytes may share 8 with its tag."""
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


def _inflate(element: RandomAccess, size: int, where: str) -> tuple[bytes, bool]:
    """Up to `size` bytes of a compressed element, and whether these are all and agree with its checksum.

    Raises SourceError.
    """
    decoder = zlib.decompressobj()
    plain = b""
    try:
        for data in blocks(element, _BLOCK_BYTES):
            plain += decoder.decompress(data, size - len(plain))
            if decoder.eof or len(plain) == size:
                break
    except zlib.error as error:
        raise SourceError(f"{where}: damaged ({error}); fetch the file again") from error
    return plain, decoder.eof
