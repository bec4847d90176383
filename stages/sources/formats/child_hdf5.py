"""HDF5, as the decoding process reads it (`child`): a part of its script, which imports nothing of this project.

A recording is the datasets, or the fields of one dataset, that are named as x, y, t and p; or, where no group has them,
a table of four columns without names, as v2e writes it ("events": t, x, y, p).
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Column = tuple[Any, str | int | None]
"""A dataset, and which of its fields, or of a table's columns, it is."""

MAX_CHUNK_BYTES = 1 << 26  # of a dataset; a chunk is decompressed as a whole
MAX_OBJECTS = 1000  # of a group
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
    return {"sensor_size": None}, slices(find_columns(file, h5py), num_events)


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
    given = {name.lower(): name for name in names}
    found = {column: [given[known] for known in aliases if known in given] for column, aliases in COLUMN_NAMES.items()}
    return {column: chosen[0] for column, chosen in found.items()} if all(found.values()) else None


def check(dataset: Any, h5py: Any, *, is_table: bool = False) -> Any:
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
    if dataset.chunks is not None:
        check_filters(dataset)
        check_chunks(dataset, math.prod(dataset.chunks) * dataset.id.get_type().get_size())
        check_lengths(dataset, h5py)
    is_contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if is_contiguous and dataset.size and dataset.id.get_offset() is None:
        raise ValueError(f"{dataset.name} was never written")
    return dataset


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


def check_chunks(dataset: Any, chunk_bytes: int) -> None:
    """Refuse large chunks, gaps, and chunks stored in more bytes than they have: HDF5 would take the beginning."""
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(f"{dataset.name} has chunks of {chunk_bytes} bytes, the limit is {MAX_CHUNK_BYTES}")
    limit = chunk_bytes + chunk_bytes // 100 + 100  # what filters may add where nothing can be compressed

    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0

    def refuse(chunk: Any) -> None:
        if chunk.size > limit or (chunk.size != chunk_bytes and not is_filtered):
            raise ValueError(f"{dataset.name} stores a chunk of {chunk_bytes} bytes in {chunk.size}; refused")

    dataset.id.chunk_iter(refuse)
    expected = math.prod(-(-length // side) for length, side in zip(dataset.shape, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks() != expected:
        raise ValueError(f"{dataset.name} has {dataset.id.get_num_chunks()} of its {expected} chunks; was it cut off?")


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


def check_lengths(dataset: Any, h5py: Any) -> None:
    """Refuse chunks that decode to other numbers of bytes than they have: HDF5 2.0 leaves what lay in memory there.

    Each goes, as it is stored, into a dataset in memory whose first filter, to which decoding comes last, measures.
    """
    import numpy as np

    stored = dataset.id.get_create_plist()
    filters = [stored.get_filter(number) for number in range(stored.get_nfilters())]
    if not filters:
        return
    kind = FilterClass(1, MEASURE, 1, 1, b"measure", None, None, ctypes.cast(measure, _POINTER))
    if ctypes.CDLL(h5py.h5z.__file__).H5Zregister(ctypes.byref(kind)) < 0:
        raise ValueError("HDF5 does not take the filter that measures chunks")
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(dataset.chunks)
    properties.set_filter(MEASURE, 0, ())
    given = {BITSHUFFLE: slice(3, None), SZIP: slice(2)}  # of the options; these filters add the others
    for code, flags, options, _ in filters:
        properties.set_filter(code, flags, options[given.get(code, slice(None))])
    values = np.empty(dataset.chunks, dataset.dtype)
    expected = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    with h5py.File("measured", "w", driver="core", backing_store=False, rdcc_nbytes=0) as memory:
        space = h5py.h5s.create_simple(dataset.chunks)
        copy = h5py.h5d.create(memory.id, b"chunk", dataset.id.get_type(), space, properties)
        for number in range(dataset.id.get_num_chunks()):
            skipped, data = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(number).chunk_offset)
            copy.write_direct_chunk((0,) * dataset.ndim, data, skipped << 1)
            MEASURED.clear()
            copy.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
            if len(MEASURED) != 1 or MEASURED[0] != expected:
                found = ", ".join(map(str, MEASURED))
                raise ValueError(f"{dataset.name} has chunks of {expected} bytes, one decodes to {found}; refused")


def slices(columns: dict[str, Column], num_events: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    lengths = {
        name: dataset.shape[0] if isinstance(field, int) else dataset.size for name, (dataset, field) in columns.items()
    }
    if len(set(lengths.values())) != 1:
        raise ValueError(f"x, y, t and p have different lengths: {lengths}")
    for start in range(0, next(iter(lengths.values())), num_events):
        whole, piece = {}, {}
        for name, (dataset, field) in columns.items():
            if dataset.id not in whole:
                region = slice(start, start + num_events)
                rows = dataset[region] if dataset.ndim == 1 or dataset.shape[0] != 1 else dataset[:, region]
                whole[dataset.id] = rows if isinstance(field, int) else rows.reshape(-1)
            rows = whole[dataset.id]
            values = rows if field is None else rows[:, field] if isinstance(field, int) else rows[field]
            if values.dtype.kind not in "iufb":
                raise ValueError(f"{dataset.name}: {name} is of type {values.dtype}, expected numbers")
            piece[name] = np.ascontiguousarray(values)
        yield piece
