"""HDF5, as the decoding process reads it (`child`): a part of its script, which imports nothing of this project.

A recording is the datasets, or the fields of one dataset, that are named as x, y, t and p; or, where no group has them,
a table of four columns without names, as v2e writes it ("events": t, x, y, p).
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

Column = tuple["Stored", str | int | None]
"""A dataset, and which of its fields, or of a table's columns, it is."""

MAX_CHUNK_BYTES = 1 << 26  # of a dataset; a chunk is decompressed as a whole
MAX_OBJECTS = 1000  # of a group
STEP_ROWS = 1 << 17  # that are read at once of what has no chunks
COLUMN_NAMES = {
    "x": ("x", "xs", "x_pos"),
    "y": ("y", "ys", "y_pos"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
BUILT_IN = {
    1: "deflate",
    2: "shuffle",
    3: "Fletcher's checksum",
    4: "szip",
    5: "n-bit",
    6: "scale-offset",
    32000: "LZF",
}
# Without Blosc 2, which starts programs to find codecs that a file names, and without those that lose something.
OF_HDF5PLUGIN = {32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32015: "Zstandard"}
ECF = 0x8ECF
SZIP, BITSHUFFLE = 4, 32008
MEASURE = 300  # of the numbers that HDF5 leaves to tests: a filter of our own, which only sees how many bytes there are


class UnsupportedError(Exception):
    """The file may be whole; it holds something that is not read here."""


def read(path: str, num_events: int) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Facts and columns, see `child.READERS`; columns without names are called "0" to "3"."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from somewhere else
    import h5py

    # The library wants the real path of a file that it opens itself; a temporary copy has none (`isolated.LocalFile`).
    file = h5py.File(path if Path(path).resolve().exists() else Path(path).open("rb"), "r")  # noqa: SIM115
    return {"sensor_size": None}, pieces(find_columns(file, h5py), num_events)


def find_columns(group: Any, h5py: Any) -> dict[str, Column]:
    """The columns by the names x, y, t and p have: in this group, or in one below it; else those of a table."""
    groups, tables = [group], []
    for group in groups:  # grows while it is walked
        members = {}
        for name in list(group)[: MAX_OBJECTS + 1]:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{group.name}: {name} is a {type(link).__name__}, maybe to another file; refused")
            members[name] = group[name]
        if len(members) > MAX_OBJECTS or len(groups) > MAX_OBJECTS:
            raise ValueError(f"more than {MAX_OBJECTS} objects; a recording has few")
        if found := match(members):
            return {column: (check(members[name], h5py), None) for column, name in found.items()}
        for name, member in members.items():
            fields = (member.dtype.names or ()) if isinstance(member, h5py.Dataset) else ()
            if found := match(fields):
                whole = check(member, h5py)
                return {column: (whole, field) for column, field in found.items()}
            if isinstance(member, h5py.Dataset) and member.ndim == 2 and member.shape[1] == 4 and not fields:
                tables.append((name, member))
        groups += [member for member in members.values() if isinstance(member, h5py.Group)]
    return columns_of(tables, h5py)


def columns_of(tables: list[tuple[str, Any]], h5py: Any) -> dict[str, Column]:
    """Of the one table, or the first that is called "events"."""
    chosen = [table for name, table in tables if name.lower() == "events"] or [table for _, table in tables]
    if not chosen:
        raise UnsupportedError(
            "no group with the datasets x, y, t and p, no dataset with these fields, and no table of four columns; "
            "write the recording so"
        )
    if len(chosen) > 1 and not any(name.lower() == "events" for name, _ in tables):
        names = ", ".join(table.name for table in chosen[:5])
        raise UnsupportedError(
            f"{len(chosen)} tables of four columns ({names}); keep the recording's alone, or as `events`"
        )
    table = check(chosen[0], h5py, is_table=True)
    return {str(place): (table, place) for place in range(4)}


def match(names: Iterable[str]) -> dict[str, str] | None:
    """column -> the one of `names` that means it, whatever its case; None where one of the four is missing."""
    given = list(names)
    found = {column: [name for name in given if name.lower() in aliases] for column, aliases in COLUMN_NAMES.items()}
    for column, chosen in found.items():
        if len(chosen) > 1 and all(found.values()):
            raise UnsupportedError(f"{' and '.join(chosen[:5])} may both be {column}; keep the recording's alone")
    return {column: chosen[0] for column, chosen in found.items()} if all(found.values()) else None


def check(dataset: Any, h5py: Any, *, is_table: bool = False) -> Stored:
    """The dataset, when it lies in the file itself and is read in bounded pieces."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.ndim == 0:
        raise ValueError(f"{dataset.name} is no array")
    if dataset.dtype.hasobject:
        raise UnsupportedError(f"{dataset.name} has values of varying length, or references; expected numbers")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file (external or virtual); refused")
    length = max(dataset.shape)
    if not is_table and (dataset.size != length or dataset.ndim > 2):
        raise ValueError(f"{dataset.name} has the shape {dataset.shape}, expected (n,), (n, 1) or (1, n)")
    chunks = []
    if dataset.chunks is not None:
        check_filters(dataset)
        chunks = check_chunks(dataset, math.prod(dataset.chunks) * dataset.id.get_type().get_size())
    is_contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if is_contiguous and dataset.size and dataset.id.get_offset() is None:
        raise ValueError(f"{dataset.name} was never written")
    return Stored(dataset, chunks, h5py, is_table=is_table)


def check_filters(dataset: Any) -> None:
    """Refuse filters that are not read; where some are needed that HDF5 does not bring, load those of `hdf5plugin`."""
    properties = dataset.id.get_create_plist()
    codes = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    if ECF in codes:
        raise UnsupportedError(
            f"{dataset.name} is compressed with Prophesee's ECF, which only their software reads: write the recording "
            "as DAT or CSV with it (metavision_file_to_dat, metavision_file_to_csv), or take the RAW file"
        )
    if unknown := sorted(codes - BUILT_IN.keys() - OF_HDF5PLUGIN.keys()):
        read_ones = ", ".join([*BUILT_IN.values(), *OF_HDF5PLUGIN.values()])
        raise UnsupportedError(
            f"{dataset.name} is compressed with HDF5's filter {', '.join(map(str, unknown))}; read are {read_ones}: "
            "write the file with one of these (h5repack)"
        )
    if codes - BUILT_IN.keys():
        import hdf5plugin  # noqa: F401  # registers the plugins in its own folder


def check_chunks(dataset: Any, chunk_bytes: int) -> list[Any]:
    """Where the chunks lie, in the order of what they hold (`h5py.h5d.StoreInfo`).

    Refuses large chunks, gaps, and chunks stored in more bytes than they have: HDF5 would take the beginning.
    """
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(f"{dataset.name} has chunks of {chunk_bytes} bytes, the limit is {MAX_CHUNK_BYTES}")
    limit = chunk_bytes + chunk_bytes // 100 + 100  # what filters may add where nothing can be compressed
    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0
    expected = math.prod(-(-length // side) for length, side in zip(dataset.shape, dataset.chunks, strict=True))
    found = dataset.id.get_num_chunks()
    if found != expected:
        raise ValueError(f"{dataset.name} has {found} of its {expected} chunks; was it cut off?")
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.size > limit or (chunk.size != chunk_bytes and not is_filtered):
            raise ValueError(f"{dataset.name} stores a chunk of {chunk_bytes} bytes in {chunk.size}; refused")
    chunks.sort()
    places = product(*(range(0, length, side) for length, side in zip(dataset.shape, dataset.chunks, strict=True)))
    if any(chunk.chunk_offset != place for chunk, place in zip(chunks, places, strict=True)):
        raise ValueError(f"{dataset.name} has chunks in each other's place; refused")
    return chunks


class FilterClass(ctypes.Structure):
    """H5Z_class2_t: what HDF5 wants to know of a filter."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("version", "id", "encodes", "decodes")),
        ("name", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("can_apply", "set_local", "filter")),
    )


MEASURED: list[int] = []


_SIZE, _POINTER = ctypes.c_size_t, ctypes.c_void_p


@ctypes.CFUNCTYPE(_SIZE, ctypes.c_uint, _SIZE, _POINTER, _SIZE, _POINTER, _POINTER)  # type: ignore[untyped-decorator]
def measure(flags: int, num_values: int, values: Any, num_bytes: int, room: Any, data: Any) -> int:
    MEASURED.append(num_bytes)
    return num_bytes


class Stored:
    """A dataset, and how its rows are read, one after the other.

    Where they lie in the file as numpy has them, who asked reads them. Chunks that went through filters are decoded one
    by one; all else HDF5 reads.
    """

    def __init__(self, dataset: Any, chunks: list[Any], h5py: Any, *, is_table: bool) -> None:
        self.dataset, self.dtype, self.is_table = dataset, dataset.dtype, is_table
        self._h5py, self._chunks = h5py, chunks
        self.length = dataset.shape[0] if is_table else dataset.size
        self._axis = 1 if dataset.ndim == 2 and dataset.shape[0] == 1 and not is_table else 0
        stored = dataset.id.get_create_plist()
        self._filters = [stored.get_filter(number) for number in range(stored.get_nfilters())]
        self._side = dataset.chunks[self._axis] if chunks else self.length
        others = dataset.shape[: self._axis] + dataset.shape[self._axis + 1 :]
        self._has_whole_rows = not chunks or math.prod(dataset.chunks) == self._side * math.prod(others)

    def places(self, start: int, stop: int) -> list[tuple[int, int]] | None:
        """Where the values of a column's rows lie in the file, offsets and numbers of bytes; None: not as they are."""
        dataset, size = self.dataset, self.dtype.itemsize
        if self._filters or not self._has_whole_rows or dataset.file.userblock_size:
            return None  # HDF5's versions count the block before it or do not
        if not dataset.id.get_type().equal(self._h5py.h5t.py_create(self.dtype)):
            return None
        offsets = [chunk.byte_offset for chunk in self._chunks] or [dataset.id.get_offset()]
        if offsets == [None]:
            return None  # it lies in the dataset's header
        places: list[tuple[int, int]] = []
        while start < stop:
            number, before = divmod(start, self._side)
            count = min(stop - start, self._side - before)
            offset = offsets[number] + before * size
            is_next = bool(places) and sum(places[-1]) == offset
            offset, num_bytes = places.pop() if is_next else (offset, 0)
            places.append((offset, num_bytes + count * size))
            start += count
        return places

    def runs(self) -> Iterator[Any]:
        """Its rows, some at a time; each is good until the next one."""
        for rows in self._in_chunks() if self._is_decoded_in_chunks() else self._in_slices():
            yield rows if self.is_table else rows.reshape(-1)

    def _is_decoded_in_chunks(self) -> bool:
        if not self._filters:
            return False
        if not self._has_whole_rows:
            for _ in self._decoded():  # to measure them
                pass
        return self._has_whole_rows

    def _in_slices(self) -> Iterator[Any]:
        for start in range(0, self.length, STEP_ROWS):
            region = slice(start, start + STEP_ROWS)
            yield self.dataset[:, region] if self._axis else self.dataset[region]

    def _in_chunks(self) -> Iterator[Any]:
        left = list(self.dataset.shape)
        for values in self._decoded():
            yield values[tuple(map(slice, left))]  # the last one is filled up
            left[self._axis] -= self._side

    def _decoded(self) -> Iterator[Any]:
        """Each chunk's values. Refuses those that decode to other numbers of bytes: HDF5 2.0 leaves what lay in memory.

        Each goes, as it is stored, into a dataset in memory whose first filter, to which decoding comes last, measures.
        """
        import numpy as np

        dataset, h5py = self.dataset, self._h5py
        kind = FilterClass(1, MEASURE, 1, 1, b"measure", None, None, ctypes.cast(measure, _POINTER))
        if ctypes.CDLL(h5py.h5z.__file__).H5Zregister(ctypes.byref(kind)) < 0:
            raise ValueError("HDF5 does not take the filter that measures chunks")
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(dataset.chunks)
        properties.set_filter(MEASURE, 0, ())
        given = {BITSHUFFLE: slice(3, None), SZIP: slice(2)}  # of the options; these filters add the others
        for code, flags, options, _ in self._filters:
            properties.set_filter(code, flags, options[given.get(code, slice(None))])
        values = np.empty(dataset.chunks, dataset.dtype)
        expected = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
        name = f"measured {id(self)}"
        with h5py.File(name, "w", driver="core", backing_store=False, rdcc_nbytes=0) as memory:
            space = h5py.h5s.create_simple(dataset.chunks)
            copy = h5py.h5d.create(memory.id, b"chunk", dataset.id.get_type(), space, properties)
            for chunk in self._chunks:
                skipped, data = dataset.id.read_direct_chunk(chunk.chunk_offset)
                copy.write_direct_chunk((0,) * dataset.ndim, data, skipped << 1)
                MEASURED.clear()
                copy.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
                if len(MEASURED) != 1 or MEASURED[0] != expected:
                    found = ", ".join(map(str, MEASURED))
                    raise ValueError(f"{dataset.name} has chunks of {expected} bytes, one decodes to {found}; refused")
                yield values


class Rows:
    """Where a dataset is read. Nothing it is made of knows it, so that a file is closed when nobody reads it."""

    def __init__(self, stored: Stored) -> None:
        self._runs = stored.runs()
        self._rest: Any = ()

    def take(self, count: int) -> Iterator[Any]:
        """The next rows, in parts that are good until the next one."""
        while count:
            if not len(self._rest):
                self._rest = next(self._runs)
            part, self._rest = self._rest[:count], self._rest[count:]
            count -= len(part)
            yield part


def pieces(columns: dict[str, Column], num_events: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    lengths = {name: stored.length for name, (stored, _) in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"x, y, t and p have different lengths: {lengths}")
    length = next(iter(lengths.values()))
    places = {name: name if field is None else id(stored) for name, (stored, field) in columns.items()}
    rows = {places[name]: Rows(stored) for name, (stored, _) in columns.items()}
    for start in range(0, length, num_events):
        count = min(num_events, length - start)
        held: dict[Any, Any] = {}
        piece = {}
        for name, (stored, field) in columns.items():
            place = places[name]
            if field is None:
                dtype = stored.dtype
                parts = stored.places(start, start + count) or rows[place].take(count)
            else:
                if place not in held:
                    held[place] = hold(stored, rows[place], count)
                values = held[place][:, field] if isinstance(field, int) else held[place][field]
                dtype, parts = values.dtype, iter([np.ascontiguousarray(values)])
            if dtype.kind not in "iufb":
                raise ValueError(f"{stored.dataset.name}: {name} is of type {dtype}, expected numbers")
            piece[name] = dtype, (count,), parts
        yield piece


def hold(stored: Stored, rows: Rows, count: int) -> Any:
    """The next rows, of which each column is a part."""
    import numpy as np

    held = np.empty((count, *stored.dataset.shape[1:]) if stored.is_table else (count,), stored.dtype)
    start = 0
    for part in rows.take(count):
        held[start : start + len(part)] = part
        start += len(part)
    return held
