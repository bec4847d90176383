"""A process that decodes recordings for another: a script of its own, which imports nothing of this project.

Native decoders may panic, abort or run out of memory on damaged files, and tonic's readers have no bounds. Here that
ends this process and no other.

It reads requests from stdin, one JSON object a line: `reader` (one of `READERS`), `path` (its size decides how long the
answer may take), and what that reader takes, such as `num_events` of a piece.
It answers each on stdout with frames, `<kind: 1 byte><length: 8 bytes, little endian><length bytes>`:

H   once: JSON, what the reader says of the recording, such as {"sensor_size": [width, height] or null}
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
import pickle
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, BinaryIO

Facts = dict[str, Any]  # JSON
Columns = dict[str, Any]  # name -> numpy array

MAX_ADDRESS_SPACE = 2 << 30
MAX_OPEN_FILES = 64
MAX_CPU_S = 60  # for a file, and a second more for each `BYTES_PER_CPU_S` of it
BYTES_PER_CPU_S = 4_000_000  # the slowest decoder takes 20 million bytes in a second
UNKNOWN_SIZE = (0xFFFF, 0xFFFF)
MAX_CHUNK_BYTES = 1 << 26  # of an HDF5 dataset; a chunk is decompressed as a whole
MAX_OBJECTS = 1000  # of an HDF5 group
NAMES_IN_CIFAR = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
COLUMN_NAMES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}


def main() -> None:
    set_limits()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            limit_cpu_time(Path(request["path"]).stat().st_size)
            answer(out, **request)
        except BaseException as error:  # a panic of Rust code is no Exception
            send(out, b"X", f"{type(error).__name__}: {error}".encode(errors="replace")[:2000])
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


def answer(out: BinaryIO, reader: str, path: str, **options: Any) -> None:
    facts, pieces = READERS[reader](path, **options)
    send(out, b"H", json.dumps(facts).encode())
    for columns in pieces:
        described = [[name, values.dtype.str, values.shape] for name, values in columns.items()]
        parts: list[bytes | memoryview] = [json.dumps(described).encode() + b"\n"]
        parts += [memoryview(values.reshape(-1).view("B")) for values in columns.values()]
        send(out, b"C", *(filled for part in parts for filled in (part, b" " * (-len(part) % 8))))
    send(out, b"D")


def send(out: BinaryIO, kind: bytes, *parts: bytes | memoryview) -> None:
    out.write(kind + struct.pack("<Q", sum(len(part) for part in parts)))
    for part in parts:
        out.write(part)
    out.flush()


# AEDAT 4, DAT, EVT 2 and 3 -------------------------------------------------------------------------------------------


def read_faery(kind: str, path: str, num_events: int) -> tuple[Facts, Iterator[Columns]]:
    import faery

    stream = faery.events_stream_from_file(path, dimensions_fallback=UNKNOWN_SIZE, file_type=kind)
    size = stream.dimensions()
    return {"sensor_size": None if size == UNKNOWN_SIZE else size}, gather(stream, num_events)


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


def read_hdf5(path: str, num_events: int) -> tuple[Facts, Iterator[Columns]]:
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from somewhere else
    import h5py

    # The library wants the real path of a file that it opens itself; a temporary copy has none (`isolated.LocalFile`).
    file = h5py.File(path if Path(path).resolve().exists() else Path(path).open("rb"), "r")  # noqa: SIM115
    return {"sensor_size": None}, slices(find_columns(file, h5py), num_events)


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


# CIFAR-10's pickles --------------------------------------------------------------------------------------------------


class Inert:
    """What becomes of a call of numpy's in a pickle: nothing but what it was called with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class CifarUnpickler(pickle.Unpickler):
    """Of all names that a pickle may call, three are known, and stand for `Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES_IN_CIFAR:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return Inert


def read_cifar(path: str) -> tuple[Facts, Iterator[Columns]]:
    """The columns "data" and "labels" of a batch that Python 2 pickled."""
    import numpy as np

    try:
        with Path(path).open("rb") as file:
            batch = CifarUnpickler(file, encoding="latin-1").load()
        _, shape, kind, is_fortran, content = batch["data"].state
        if kind.arguments[0] != "u1":
            raise ValueError(f"data are of the type {kind.arguments[0]!r}")
        data = np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape, order="F" if is_fortran else "C")
        columns = {"data": np.ascontiguousarray(data), "labels": np.array(batch["labels"])}
    except Exception as error:  # whatever a hostile program makes of the stack
        raise ValueError(
            f"expected a dictionary with `data`, an array of uint8, and `labels`, as Python 2 pickled them; "
            f"{type(error).__name__}: {error}. Nothing in the file was executed: do not trust it"
        ) from error
    return {}, iter([columns])


# tonic's data sets ---------------------------------------------------------------------------------------------------


def list_tonic(path: str, part: str, opened_ns: int) -> tuple[Facts, Iterator[Columns]]:
    """{"labels", "files"} of each recording of the data set in the folder `path`, ordered by file.

    labels: each an int or a str; null when its targets are none. files: paths, "" where the class does not list files.
    """
    import numpy as np

    try:
        dataset, listed = open_tonic(path, part, opened_ns)
    except FileNotFoundError:  # a part that is not there
        return {"labels": [], "files": []}, iter(())
    targets = getattr(dataset, "targets", None)
    labels = [as_label(target) for target in targets] if isinstance(targets, list | np.ndarray) else []
    if len(labels) != len(listed) or None in labels:
        return {"labels": None}, iter(())
    return {"labels": [labels[index] for index, _ in listed], "files": [file for _, file in listed]}, iter(())


def read_tonic(
    path: str, folder: str, part: str, opened_ns: int, number: int, num_events: int
) -> tuple[Facts, Iterator[Columns]]:
    """{"file", "target", "num_events"} of a recording, `number` in the order of `list_tonic`, and its columns."""
    import numpy as np

    dataset, listed = open_tonic(folder, part, opened_ns)
    index, file = listed[number]
    events, target = dataset[index]
    columns = {name: np.asarray(events[name]).reshape(-1) for name in "xytp"}
    length = len(columns["t"])
    pieces = (
        {name: np.ascontiguousarray(values[start : start + num_events]) for name, values in columns.items()}
        for start in range(0, length, num_events)
    )
    return {"file": file, "target": str(target), "num_events": length}, pieces


@lru_cache(maxsize=2)
def open_tonic(folder: str, part: str, opened_ns: int) -> tuple[Any, list[tuple[int, str]]]:
    """A part of the data set in `folder`, which is named like its class; index and file ("": none) of each, by file.

    part: "train", "test", or "all" of a class without the two. opened_ns: the folder is looked at again for another.
    The class is content with the files that are there, and downloads nothing.
    """
    parent, name = os.path.split(folder)
    offline = {"_check_exists": lambda self: True, "download": refuse_download}
    open_part = type(name, (getattr(tonic_datasets(), name),), offline)
    dataset = open_part(save_to=parent, **({} if part == "all" else {"train": part == "train"}))
    data = getattr(dataset, "data", None)
    entries = data if isinstance(data, list) and len(data) == len(dataset) else [None] * len(dataset)
    files = [str(entry) if isinstance(entry, str | Path) else "" for entry in entries]
    return dataset, sorted(enumerate(files), key=lambda listed: listed[1])


def tonic_datasets() -> Any:
    if "tonic" not in sys.modules and (spec := find_spec("tonic")):
        sys.modules["tonic"] = module_from_spec(spec)  # not run: it imports torch, and the data sets do not need it
    import numpy.lib.recfunctions  # noqa: F401  # some data sets use it and do not import it
    import tonic.datasets

    return tonic.datasets


def refuse_download(dataset: Any) -> None:
    raise RuntimeError(f"{type(dataset).__name__} wants to download; fetch it with tonic")


def as_label(target: Any) -> int | str | None:
    import numpy as np

    if isinstance(target, int | np.integer):
        return int(target)
    return target if isinstance(target, str) and "/" not in target else None


READERS: dict[str, Callable[..., Any]] = {
    "aedat4": partial(read_faery, "aedat"),
    "dat": partial(read_faery, "dat"),
    "evt": partial(read_faery, "evt"),
    "hdf5": read_hdf5,
    "cifar": read_cifar,
    "tonic list": list_tonic,
    "tonic": read_tonic,
}

if __name__ == "__main__":
    main()
