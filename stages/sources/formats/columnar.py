"""Recordings as columns x, y, t and p: NumPy files and text. HDF5 is read in another process (`child`)."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ..archives import list_members
from ..random_access import RandomAccess
from .child import match
from .columns import Columns, Pieces, Unit, as_events

PIECE_EVENTS: Final = 1 << 20
_MAX_NPY_HEADER: Final = 10_000
_BAD_HEADER: Final = (ValueError, LookupError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
_TEXT_BLOCK_BYTES: Final = 1 << 22
_MAX_LINE_BYTES: Final = 10_000


# NumPy ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array of `length` values of type `stored` that lies in a file from byte `offset` on, read in slices.

    means: the type that they are given back with, which holds each of them.
    """

    content: RandomAccess
    offset: int
    stored: np.dtype[Any]
    length: int
    means: np.dtype[Any]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """The values [start, stop), fewer at the end. Raises SourceError, also for one that `means` cannot hold."""
        first, end = (self.offset + min(i, self.length) * self.stored.itemsize for i in (start, stop))
        step = 1 << 24
        parts = [self.content.read_at(offset, min(step, end - offset)) for offset in range(first, end, step)]
        values = np.frombuffer(b"".join(parts), self.stored)
        with np.errstate(invalid="ignore", over="ignore"):
            meant = values.astype(self.means, copy=False)
        if not np.can_cast(self.stored, self.means) and not np.array_equal(meant, values):
            raise SourceError(
                f"{self.content.location}: values of {self.stored} that are none of the announced {self.means}; refused"
            )
        return meant


def read_npy(content: RandomAccess, time_unit: Unit) -> Pieces:
    """A structured array with the fields x, y, t and p."""
    return None, as_events(stored_pieces({"": _open_npy(content)}, content.location), time_unit)


def read_npz(content: RandomAccess, time_unit: Unit) -> Pieces:
    """Arrays x, y, t and p, or one structured array with these fields."""
    members = {member.name: member for member in list_members(content)}
    names = {name.removesuffix(".npy"): name for name in members if name.endswith(".npy")}
    columns = match(names)
    if columns is None and len(names) != 1:
        raise SourceError(f"{content.location}: expected the arrays x, y, t and p, found {', '.join(names) or 'none'}")
    chosen = columns or dict.fromkeys([""], next(iter(names)))
    arrays = {column: _open_npy(members[names[name]].open()) for column, name in chosen.items()}
    return None, as_events(stored_pieces(arrays, content.location), time_unit)


def _open_npy(content: RandomAccess) -> StoredArray:
    """Format: numpy.lib.format, versions 1 and 2; arrays of objects, which are pickles, are refused."""
    start = io.BytesIO(content.read_at(0, _MAX_NPY_HEADER + 12))
    try:
        version = np.lib.format.read_magic(start)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(start, max_header_size=_MAX_NPY_HEADER)
    except _BAD_HEADER as error:
        raise SourceError(f"{content.location}: is no NumPy file of version 1 or 2 ({error}); save it again") from error
    length = max(shape, default=0)
    fits = min(shape, default=0) >= 0 and len(shape) in (1, 2) and np.prod([float(n) for n in shape]) == length
    if dtype.hasobject or not fits:
        raise SourceError(f"{content.location}: {dtype} of shape {shape}; expected numbers of shape (n,)")
    if content.size - start.tell() != length * dtype.itemsize:
        raise SourceError(
            f"{content.location}: announces {length} values of {dtype.itemsize} bytes, {content.size - start.tell()} "
            "bytes are there; the file is truncated: fetch it again"
        )
    return StoredArray(content, start.tell(), dtype, length, dtype)


def stored_pieces(arrays: Mapping[str, StoredArray], location: str) -> Iterator[Columns]:
    """Columns of `PIECE_EVENTS` events; an array named "" has them as its fields. Raises SourceError."""
    lengths = {name: array.length for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise SourceError(f"{location}: x, y, t and p have different lengths: {lengths}")
    fields: dict[str, str] | None = None
    if "" in arrays:
        fields = match(arrays[""].stored.names or ())
        if fields is None:
            raise SourceError(f"{location}: expected the fields x, y, t and p, found {arrays[''].stored}")
    for start in range(0, next(iter(lengths.values())), PIECE_EVENTS):
        values = {name: array.read(start, start + PIECE_EVENTS) for name, array in arrays.items()}
        yield values if fields is None else {column: values[""][field] for column, field in fields.items()}


# Text ----------------------------------------------------------------------------------------------------------------


def read_text(content: RandomAccess, time_unit: Unit) -> Pieces:
    """Lines of numbers, separated by commas, semicolons, tabs or blanks, in the order t, x, y, p.

    A line before them may name the columns ("x,y,p,t"; others are ignored), also with the size of the sensor as `faery`
    writes it ("x@640,y@480"), or be the sensor's width and height alone. Lines before the events that start with "#" or
    "%" are comments.
    """
    offset, size, separator = 0, None, None
    places = {"t": 0, "x": 1, "y": 2, "p": 3}  # of the columns in a line
    for raw in io.BytesIO(content.read_at(0, 1 << 16)):
        line = raw.decode("ascii").strip()
        bare = line.lstrip("#% ")
        words = re.split(r"[,;\s]+", bare)
        plain = [word.partition("@")[0] for word in words]
        if (found := match(plain)) is not None:
            places = {column: plain.index(name) for column, name in found.items()}
            sides = [re.search(rf"\b{found[side]}@(\d+)", bare) for side in "xy"]
            size = (int(sides[0][1]), int(sides[1][1])) if sides[0] and sides[1] else size
        elif line and line == bare:
            if size is not None or len(words) != 2 or not all(word.isdigit() for word in words):
                separator = next((mark for mark in ",;" if mark in line), None)
                break
            size = (int(words[0]), int(words[1]))
        offset += len(raw)
    return size, as_events(_text_pieces(content, offset, separator, places), time_unit, size)


def _text_pieces(
    content: RandomAccess, offset: int, separator: str | None, places: Mapping[str, int]
) -> Iterator[Columns]:
    whole_times: bool | None = None
    num_before = 0
    for text in _whole_lines(content, offset):
        # As whole numbers it takes half the time.
        dtype = np.float64 if any(mark in text for mark in ".eEnN") else np.int64
        try:
            table = np.loadtxt(text.splitlines(), dtype, delimiter=separator, ndmin=2, comments=None)
        except ValueError as error:
            raise SourceError(
                f"{content.location}: after event {num_before}: {error}; expected lines of numbers, t, x, y, p"
            ) from error
        if not table.size:
            continue
        if table.shape[1] <= max(places.values()):
            raise SourceError(
                f"{content.location}: {table.shape[1]} columns, expected at least {max(places.values()) + 1}: "
                "t, x, y, p, or others under a line with their names"
            )
        if whole_times is None:
            first_time = text.split("\n", 1)[0].strip().split(separator)[places["t"]]
            whole_times = first_time.strip().lstrip("+-").isdigit()
        columns = {name: table[:, place] for name, place in places.items()}
        t = columns["t"]
        if whole_times and (np.floor(t) != t).any():
            raise SourceError(
                f"{content.location}: whole times at first, fractions after event {num_before}; write all in one way"
            )
        # Whole numbers beyond 2^53 are nanoseconds since 1970, if no float has rounded them; else they are no time.
        is_whole = whole_times and (t.dtype.kind == "i" or np.abs(t).max() < 2**53)
        columns["t"] = t.astype(np.int64 if is_whole else np.float64)
        num_before += len(table)
        yield columns


def _whole_lines(content: RandomAccess, offset: int) -> Iterator[str]:
    """The lines from `offset` on, some megabytes at a time."""
    rest = b""
    while offset < content.size:
        block = rest + content.read_at(offset, _TEXT_BLOCK_BYTES)
        offset += len(block) - len(rest)
        end = len(block) if offset >= content.size else block.rfind(b"\n") + 1
        rest = block[end:]
        if len(rest) > _MAX_LINE_BYTES:
            raise SourceError(f"{content.location}: a line of more than {_MAX_LINE_BYTES} bytes before byte {offset}")
        try:
            yield block[:end].decode("ascii")
        except UnicodeDecodeError as error:
            raise SourceError(f"{content.location}: no text before byte {offset} ({error.reason})") from error
