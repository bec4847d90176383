"""Recordings as columns x, y, t and p: NumPy files and text. HDF5 is read in another process (`child`)."""

from __future__ import annotations

import io
import math
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ..archives import list_members
from ..random_access import RandomAccess, array_at
from .columns import PLACES, Columns, Pieces, Unit, as_events, match_columns

PIECE_EVENTS: Final = 1 << 20
_MAX_NPY_HEADER: Final = 10_000
_BAD_HEADER: Final = (ValueError, LookupError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)
_TEXT_BLOCK_BYTES: Final = 1 << 22
_MAX_LINE_BYTES: Final = 10_000
_UNITS: Final[dict[str, Unit]] = {
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), "ns"),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
}
_NAME: Final = re.compile(  # of a column: "t", "t_us", "t[us]", "t(us)", "x@640"
    rf"(?P<name>[A-Za-z]+(?:_pos)?)(?:_(?P<suffix>{'|'.join(_UNITS)}))?(?:\[(?P<in>[^\]]*)\]|\((?P<of>[^)]*)\))?(?:@(?P<side>\d+))?"
)
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_GEOMETRY: Final = re.compile(r"geometry:\s*(\d+)\s*[,x]\s*(\d+)")


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
        parts = [array_at(self.content, offset, min(step, end - offset)) for offset in range(first, end, step)]
        whole = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, np.uint8)])
        values = np.require(whole.view(self.stored), requirements="A")
        with np.errstate(invalid="ignore", over="ignore"):
            meant = values.astype(self.means, copy=False)
        if not np.can_cast(self.stored, self.means) and not np.array_equal(meant, values):
            raise SourceError(
                f"{self.content.location}: values of {self.stored} that are none of the announced {self.means}; refused"
            )
        return meant


def read_npy(content: RandomAccess, time_unit: Unit, columns: str) -> Pieces:
    """A structured array with the fields x, y, t and p, or a table (n, 4)."""
    return _recording(_open_npy(content, may_be_table=True), content.location, time_unit, columns)


def read_npz(content: RandomAccess, time_unit: Unit, columns: str) -> Pieces:
    """Arrays x, y, t and p; or one as `read_npy` takes it, called `events` or `event_data` where there are others."""
    members = {member.name: member for member in list_members(content)}
    names = {name.removesuffix(".npy"): name for name in members if name.endswith(".npy")}
    named = match_columns(names, content.location)
    if not names:
        raise SourceError(f"{content.location}: is a zip archive without NumPy's arrays: unpack the recordings in it")
    chosen = next((names[name] for name in ("events", "event_data") if name in names), None)
    if named is None and len(names) != 1 and chosen is None:
        raise SourceError(f"{content.location}: expected the arrays x, y, t and p, found {', '.join(names)}")
    if named is None:
        chosen = chosen or next(iter(names.values()))
        arrays = _open_npy(members[chosen].open(), may_be_table=True)
    else:
        arrays = {column: _open_npy(members[names[name]].open())[""] for column, name in named.items()}
    return _recording(arrays, content.location, time_unit, columns)


def _recording(arrays: Mapping[str, StoredArray], location: str, time_unit: Unit, columns: str) -> Pieces:
    return None, as_events(stored_pieces(arrays, location), time_unit, order=columns, location=location)


def _open_npy(content: RandomAccess, *, may_be_table: bool = False) -> dict[str, StoredArray]:
    """The array, under the name ""; of a table in Fortran's order its columns, under `PLACES`.

    Format: numpy.lib.format, versions 1 and 2; arrays of objects, which are pickles, are refused.
    """
    start = io.BytesIO(content.read_at(0, _MAX_NPY_HEADER + 12))
    try:
        version = np.lib.format.read_magic(start)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read_header(start, max_header_size=_MAX_NPY_HEADER)
    except _BAD_HEADER as error:
        raise SourceError(f"{content.location}: is no NumPy file of version 1 or 2 ({error}); save it again") from error
    is_table = may_be_table and len(shape) == 2 and shape[1] == len(PLACES) and dtype.names is None
    length = shape[0] if is_table else max(shape, default=0)
    size = math.prod(shape)
    fits = min(shape, default=0) >= 0 and len(shape) in (1, 2) and (is_table or size == length)
    if dtype.hasobject or not fits:
        expected = "(n,) or (n, 4)" if may_be_table else "(n,)"
        raise SourceError(f"{content.location}: {dtype} of shape {shape}; expected numbers of shape {expected}")
    if content.size - start.tell() != size * dtype.itemsize:
        raise SourceError(
            f"{content.location}: announces {size} values of {dtype.itemsize} bytes, {content.size - start.tell()} "
            "bytes are there; the file is truncated: fetch it again"
        )
    if is_table and is_fortran:
        starts = {name: start.tell() + place * length * dtype.itemsize for place, name in enumerate(PLACES)}
        return {name: StoredArray(content, offset, dtype, length, dtype) for name, offset in starts.items()}
    row = np.dtype([(name, dtype) for name in PLACES]) if is_table else dtype
    return {"": StoredArray(content, start.tell(), row, length, row)}


def stored_pieces(arrays: Mapping[str, StoredArray], location: str) -> Iterator[Columns]:
    """Columns of `PIECE_EVENTS` events; an array named "" has them as its fields. Raises SourceError."""
    lengths = {name: array.length for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise SourceError(f"{location}: x, y, t and p have different lengths: {lengths}")
    fields: dict[str, str] | None = None
    if "" in arrays:
        names = arrays[""].stored.names or ()
        fields = dict(zip(PLACES, PLACES, strict=True)) if names == PLACES else match_columns(names, location)
        if fields is None:
            raise SourceError(
                f"{location}: expected the fields x, y, t and p, or a table of shape (n, 4), found "
                f"{arrays[''].length} values of {arrays[''].stored}"
            )
    for start in range(0, next(iter(lengths.values())), PIECE_EVENTS):
        values = {name: array.read(start, start + PIECE_EVENTS) for name, array in arrays.items()}
        yield values if fields is None else {column: values[""][field] for column, field in fields.items()}


# Text ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    """What the lines before the events say. offset: of the first event, in bytes. separator: None for blanks and tabs.

    places: which columns of a line are the events', by name, or by `PLACES` where no line names them.
    named_by: the line that names them, if one does.  num_columns: as many as it names, or four.
    """

    offset: int
    separator: str | None
    places: Mapping[str, int]
    named_by: str | None
    num_columns: int
    time_unit: str | None
    sensor_size: tuple[int, int] | None


def read_text(content: RandomAccess, time_unit: Unit, columns: str) -> Pieces:
    """Lines of numbers, separated by commas, semicolons, tabs or blanks: four columns, or those that a line names.

    A line before them may name the columns ("x,y,p,t", or all of more), the unit of time with its column ("t [us]",
    "timestamp (ns)", "t_us") and the size of the sensor as `faery` writes it ("x@640,y@480"); or be the sensor's width
    and height alone. Lines before the events that start with "#" or "%" are comments; one of them may be Prophesee's
    "%geometry:640,480". Columns without names are t, x, y, p unless their values say otherwise.
    """
    header = _read_header(content)
    unit = time_unit
    if header.time_unit is not None:
        known = _UNITS.get(header.time_unit.lower())
        if known is None and time_unit == "auto":
            raise SourceError(
                f"{content.location}: its times are in {header.time_unit!r}, which is not known; say their unit: "
                "frames.time_unit (--time-unit)"
            )
        unit = known or time_unit
    pieces = _text_pieces(content, header)
    size = header.sensor_size
    return size, as_events(pieces, unit, size, order=columns, usual="txyp", location=content.location)


def _read_header(content: RandomAccess) -> _Header:
    start = content.read_at(0, 1 << 16)
    offset = len(BYTE_ORDER_MARK) if start.startswith(BYTE_ORDER_MARK) else 0
    size, separator, unit, named_by = None, None, None, None
    places, num_columns = {name: place for place, name in enumerate(PLACES)}, len(PLACES)
    for raw in io.BytesIO(start[offset:]):
        line = raw.decode("utf-8", "replace").strip()
        bare = line.lstrip("#% ")
        words = _words(bare if line == bare else bare.rpartition(":")[2])  # "# columns: t x y p"
        names = [word["name"] if word else "" for word in words]
        try:
            named = match_columns(names, content.location)
        except SourceError:
            if line == bare:
                raise
            named = None  # a comment
        if named is not None:
            places = {column: names.index(name) for column, name in named.items()}
            named_by, num_columns = line, len(names)
            of = {column: words[place] for column, place in places.items()}
            sides = [word["side"] for side in "xy" if (word := of[side]) and word["side"]]
            size = (int(sides[0]), int(sides[1])) if len(sides) == 2 else size
            unit = next((found for kind in ("in", "of", "suffix") if (found := of["t"] and of["t"][kind])), None)
        elif stated := _GEOMETRY.fullmatch(bare):
            size = (int(stated[1]), int(stated[2]))
        elif line and line == bare:
            plain = re.split(r"[,;\s]+", bare)
            if size is not None or len(plain) != 2 or not all(word.isdigit() for word in plain):
                separator = next((mark for mark in ",;" if mark in line), None)
                break
            size = (int(plain[0]), int(plain[1]))
        offset += len(raw)
    return _Header(offset, separator, places, named_by, num_columns, unit, size)


def _words(line: str) -> list[re.Match[str] | None]:
    """What a line that may name columns has of each, by the first mark that it has between them."""
    separator = next((mark for mark in ",;\t" if mark in line), None)
    words = re.sub(r"\s+(?=[\[(])", "", line).split(separator)
    return [_NAME.fullmatch(word.strip().strip('"')) for word in words]


def _text_pieces(content: RandomAccess, header: _Header) -> Iterator[Columns]:
    is_whole: list[bool] | None = None  # of the columns, as the first line has them
    num_before = 0
    for lines in _whole_lines(content, header.offset):
        lines = lines.replace(b"True", b"1").replace(b"False", b"0")
        table = _table(lines, header.separator, content.location, num_before)
        if not table.size:
            continue
        if table.shape[1] != header.num_columns:
            if header.named_by is None:
                expected = "four: x, y, t and p, or more under a line that names all of them"
            else:
                expected = f"{header.num_columns}, as the line {header.named_by[:80]!r} names; make it name all of them"
            raise SourceError(f"{content.location}: lines of {table.shape[1]} columns, expected {expected}")
        if is_whole is None:
            first = lines.decode("ascii").lstrip().split("\n", 1)[0].strip().split(header.separator)
            is_whole = [word.strip().lstrip("+-").isdigit() for word in first]
        columns = {}
        for name, place in header.places.items():
            values = table[:, place]
            if values.dtype.kind == "f" and is_whole[place] and (np.floor(values) != values).any():
                raise SourceError(
                    f"{content.location}: whole numbers at first in column {place + 1}, fractions after event "
                    f"{num_before}; write all in one way"
                )
            # Whole numbers beyond 2^53 are nanoseconds since 1970, if no float has rounded them; else they are no time.
            if not is_whole[place]:
                values = values.astype(np.float64, copy=False)
            elif values.dtype.kind == "f" and np.abs(values).max() < 2**53:
                values = values.astype(np.int64)
            columns[name] = values
        num_before += len(table)
        yield columns


def _table(lines: bytes, separator: str | None, location: str, num_before: int) -> NDArray[Any]:
    """The numbers of each line; floating point where one is none that is whole. Raises SourceError."""
    from .lines import parse_whole_numbers  # imports numba, which takes a second

    table: NDArray[Any] | None = parse_whole_numbers(lines, separator)
    if table is not None:
        return table
    text = lines.decode("ascii")
    # As whole numbers it takes half the time.
    dtype = np.float64 if any(mark in text for mark in ".eEnN") else np.int64
    try:
        return np.loadtxt(text.splitlines(), dtype, delimiter=separator, ndmin=2, comments=None)
    except ValueError as error:
        raise SourceError(
            f"{location}: after event {num_before}: {error}; expected lines of numbers, x, y, t and p in "
            "any order, and before them at most one line that names the columns so (x, y, t, p)"
        ) from error


def _whole_lines(content: RandomAccess, offset: int) -> Iterator[bytes]:
    """The lines from `offset` on, some megabytes at a time."""
    rest = b""
    while offset < content.size:
        block = rest + content.read_at(offset, _TEXT_BLOCK_BYTES)
        offset += len(block) - len(rest)
        end = len(block) if offset >= content.size else block.rfind(b"\n") + 1
        rest = block[end:]
        if len(rest) > _MAX_LINE_BYTES:
            raise SourceError(f"{content.location}: a line of more than {_MAX_LINE_BYTES} bytes before byte {offset}")
        lines = block[:end]
        if not lines.isascii():
            raise SourceError(f"{content.location}: no text before byte {offset} (ordinal not in range(128))")
        yield lines
