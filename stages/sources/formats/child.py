"""A process that decodes recordings for another: a script of its own, which imports nothing of this project.

Native decoders may panic, abort or run out of memory on damaged files. Here that ends this process and no other.

It reads requests from stdin, one JSON object a line: `reader` (one of `READERS`), `path`, and the `num_events` of a
piece.
It answers each on stdout with frames, `<kind: 1 byte><length: 8 bytes, little endian><length bytes>`:

H   once: JSON, {"sensor_size": [width, height] or null}
C   columns: a JSON line [[name, dtype, shape], ...], then their values, one column after the other; line and columns
    are each filled up with spaces to a multiple of 8 bytes, so that the columns are aligned
D   done; the next request may come
X   the text of an error; the process ends after it, since a decoder that failed is not asked again
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Columns = dict[str, Any]  # name -> numpy array

MAX_ADDRESS_SPACE = 2 << 30
MAX_OPEN_FILES = 64
MAX_CPU_S = 60  # for a file, and a second more for each `BYTES_PER_CPU_S` of it
BYTES_PER_CPU_S = 4_000_000  # the slowest decoder takes 20 million bytes in a second
UNKNOWN_SIZE = (0xFFFF, 0xFFFF)
MAX_CHUNK_BYTES = 1 << 26  # of an HDF5 dataset; a chunk is decompressed as a whole
MAX_OBJECTS = 1000  # of an HDF5 group
COLUMN_NAMES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}


def main() -> None:
    set_limits()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            limit_cpu_time(Path(request["path"]).stat().st_size)
            answer(**request)
        except BaseException as error:  # a panic of Rust code is no Exception
            send(b"X", f"{type(error).__name__}: {error}".encode(errors="replace")[:2000])
            return


def set_limits() -> None:
    """Bounds on memory and files, no core dumps, nothing written to a file."""
    bounds = {
        resource.RLIMIT_AS: MAX_ADDRESS_SPACE,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
    }
    for kind, bound in bounds.items():
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already, or the system has none of these
            resource.setrlimit(kind, (bound, bound))


def limit_cpu_time(num_bytes: int) -> None:
    """From now on; a process that needs more is ended by SIGXCPU."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(usage.ru_utime + usage.ru_stime) + MAX_CPU_S + num_bytes // BYTES_PER_CPU_S
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_CPU, (bound, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def answer(reader: str, path: str, **options: Any) -> None:
    sensor_size, pieces = READERS[reader](path, **options)
    send(b"H", json.dumps({"sensor_size": sensor_size}).encode())
    for columns in pieces:
        described = [[name, values.dtype.str, values.shape] for name, values in columns.items()]
        parts: list[bytes | memoryview] = [json.dumps(described).encode() + b"\n"]
        parts += [memoryview(values.reshape(-1).view("B")) for values in columns.values()]
        send(b"C", *(filled for part in parts for filled in (part, b" " * (-len(part) % 8))))
    send(b"D")


def send(kind: bytes, *parts: bytes | memoryview) -> None:
    out = sys.stdout.buffer
    out.write(kind + struct.pack("<Q", sum(len(part) for part in parts)))
    for part in parts:
        out.write(part)
    out.flush()


# AEDAT 4, DAT, EVT 2 and 3 -------------------------------------------------------------------------------------------


def read_faery(kind: str, path: str, num_events: int) -> tuple[list[int] | None, Iterator[Columns]]:
    import faery

    stream = faery.events_stream_from_file(path, dimensions_fallback=UNKNOWN_SIZE, file_type=kind)
    size = stream.dimensions()
    return None if size == UNKNOWN_SIZE else list(size), gather(stream, num_events)


def gather(packets: Iterable[Any], num_events: int) -> Iterator[Columns]:
    """The packets as columns of at least `num_events`, the last ones fewer."""
    held: list[Any] = []
    num_held = 0
    for packet in packets:
        held.append(packet)
        num_held += len(packet)
        if num_held >= num_events:
            yield columns_of(held)
            held, num_held = [], 0
    if num_held:
        yield columns_of(held)


def columns_of(packets: list[Any]) -> Columns:
    import numpy as np

    names = (("t", "t"), ("x", "x"), ("y", "y"), ("p", "on"))
    return {column: np.concatenate([packet[name] for packet in packets]) for column, name in names}


# HDF5 ----------------------------------------------------------------------------------------------------------------


def read_hdf5(path: str, num_events: int) -> tuple[list[int] | None, Iterator[Columns]]:
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from somewhere else
    import h5py

    # The library wants the real path of a file that it opens itself; a temporary copy has none (`isolated.LocalFile`).
    file = h5py.File(path if Path(path).resolve().exists() else Path(path).open("rb"), "r")  # noqa: SIM115
    return None, slices(find_columns(file, h5py), num_events)


def find_columns(group: Any, h5py: Any) -> dict[str, tuple[Any, str | None]]:
    """The columns' datasets and fields, by the names x, y, t and p have: in this group, or in one below it."""
    groups = [group]
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
        for member in members.values():
            fields = (member.dtype.names or ()) if isinstance(member, h5py.Dataset) else ()
            if found := match(fields):
                return {column: (check(member, h5py), name) for column, name in found.items()}
        groups += [member for member in members.values() if isinstance(member, h5py.Group)]
    raise ValueError("no group with the datasets x, y, t and p, and no dataset with these fields")


def match(names: Iterable[str]) -> dict[str, str] | None:
    """column -> the one of `names` that means it, whatever its case; None where one of the four is missing."""
    given = {name.lower(): name for name in names}
    found = {column: [given[known] for known in aliases if known in given] for column, aliases in COLUMN_NAMES.items()}
    return {column: chosen[0] for column, chosen in found.items()} if all(found.values()) else None


def check(dataset: Any, h5py: Any) -> Any:
    """The dataset, when it lies in the file itself and is read in bounded pieces."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.ndim == 0:
        raise ValueError(f"{dataset.name} is no array")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file (external or virtual); refused")
    length = max(dataset.shape)
    if dataset.size != length or dataset.ndim > 2:
        raise ValueError(f"{dataset.name} has the shape {dataset.shape}, expected (n,), (n, 1) or (1, n)")
    if dataset.chunks is not None:
        check_chunks(dataset, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    is_contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if is_contiguous and dataset.size and dataset.id.get_offset() is None:
        raise ValueError(f"{dataset.name} was never written")
    return dataset


def check_chunks(dataset: Any, chunk_bytes: int) -> None:
    """Refuse large chunks, gaps, and chunks stored in more bytes than they have: HDF5 would take the beginning."""
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(f"{dataset.name} has chunks of {chunk_bytes} bytes, the limit is {MAX_CHUNK_BYTES}")
    limit = chunk_bytes + chunk_bytes // 100 + 100  # what filters may add where nothing can be compressed

    def refuse(chunk: Any) -> None:
        if chunk.size > limit:
            raise ValueError(f"{dataset.name} stores a chunk of {chunk_bytes} bytes in {chunk.size}; refused")

    dataset.id.chunk_iter(refuse)
    expected = math.prod(-(-length // side) for length, side in zip(dataset.shape, dataset.chunks, strict=True))
    if dataset.id.get_num_chunks() != expected:
        raise ValueError(f"{dataset.name} has {dataset.id.get_num_chunks()} of its {expected} chunks; was it cut off?")


def slices(columns: dict[str, tuple[Any, str | None]], num_events: int) -> Iterator[Columns]:
    import numpy as np

    lengths = {name: dataset.size for name, (dataset, _) in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"x, y, t and p have different lengths: {lengths}")
    for start in range(0, lengths["t"], num_events):
        whole, piece = {}, {}
        for name, (dataset, field) in columns.items():
            if dataset.id not in whole:
                region = slice(start, start + num_events)
                rows = dataset[region] if dataset.ndim == 1 or dataset.shape[0] != 1 else dataset[:, region]
                whole[dataset.id] = rows.reshape(-1)
            values = whole[dataset.id] if field is None else whole[dataset.id][field]
            if values.dtype.kind not in "iufb":
                raise ValueError(f"{dataset.name}: {name} is of type {values.dtype}, expected numbers")
            piece[name] = np.ascontiguousarray(values)
        yield piece


READERS: dict[str, Callable[..., Any]] = {
    "aedat4": partial(read_faery, "aedat"),
    "dat": partial(read_faery, "dat"),
    "evt": partial(read_faery, "evt"),
    "hdf5": read_hdf5,
}

if __name__ == "__main__":
    main()
