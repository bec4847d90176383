"""What a decoding process reads: a script of its own, which imports nothing of this project (see `process_main`).

Native decoders may panic, abort or run out of memory on damaged files, tonic's readers have no bounds, and torch
believes what a checkpoint announces. Here that ends the process and no other.

`READERS`: each takes a path and options, and returns facts (JSON) and an iterator of columns by name: numpy arrays, or
(dtype, shape, parts) of arrays whose values come part by part, contiguous, before the next columns are asked for.
"""

from __future__ import annotations

import os
import pickle
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

Facts = dict[str, Any]  # JSON
Columns = dict[str, Any]  # name -> numpy array, or (dtype, shape, parts)

UNKNOWN_SIZE = (0xFFFF, 0xFFFF)
NAMES_IN_CIFAR = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
MAX_TENSOR_BYTES = 4  # of a checkpoint's tensors, for each byte of the file


# AEDAT 4 -------------------------------------------------------------------------------------------------------------


def read_aedat4(path: str, num_events: int) -> tuple[Facts, Iterator[Columns]]:
    import faery

    stream = faery.events_stream_from_file(path, dimensions_fallback=UNKNOWN_SIZE, file_type="aedat")
    size = stream.dimensions()
    return {"sensor_size": None if size == UNKNOWN_SIZE else size}, gather(stream, num_events)


def gather(packets: Iterable[Any], num_events: int) -> Iterator[Columns]:
    """The packets as columns of `num_events`, the last ones fewer; each are good until the next ones."""
    columns, used = columns_of(num_events), 0
    for packet in packets:
        start = 0
        while start < len(packet):
            part = packet[start : start + num_events - used]
            for name, values in columns.items():
                values[used : used + len(part)] = part["on" if name == "p" else name]
            used, start = used + len(part), start + len(part)
            if used == num_events:
                yield columns
                used = 0
    if used:
        yield {name: values[:used] for name, values in columns.items()}


@lru_cache(maxsize=1)
def columns_of(num_events: int) -> Columns:
    """Kept for the next file: new memory costs more than what is written into it."""
    import numpy as np

    return {name: np.empty(num_events, kind) for name, kind in (("t", "u8"), ("x", "u2"), ("y", "u2"), ("p", "?"))}


# HDF5 ----------------------------------------------------------------------------------------------------------------


def read_hdf5(path: str, num_events: int) -> tuple[Facts, Iterator[Columns]]:
    found: tuple[Facts, Iterator[Columns]] = script("child_hdf5.py")["read"](path, num_events)
    return found


@lru_cache
def script(name: str) -> dict[str, Any]:
    """What the script of this name defines, which lies beside this one."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


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


# Checkpoints ---------------------------------------------------------------------------------------------------------


def read_checkpoint(path: str) -> tuple[Facts, Iterator[Columns]]:
    """A published checkpoint: {"found": the type of each entry by key, "plain": its plain values}; the tensors, one by
    one. Of `args` plain values are those in it, of `state_dict` the keys of what is no tensor.

    {"problem": text} where torch's restricted reader does not take it: tensors, plain containers and the class
    `argparse.Namespace`, nothing else. Nothing in it is executed.
    """
    import argparse

    import torch

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            document = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a garbled or hostile pickle makes torch's reader raise almost anything
        return {"problem": str(error) or type(error).__name__}, iter(())
    if not isinstance(document, Mapping):
        return {"problem": f"it is a {type(document).__name__}"}, iter(())
    found = {str(key): type(value).__name__ for key, value in document.items()}
    plain = plain_values(document)
    if isinstance(args := document.get("args"), argparse.Namespace):
        plain["args"] = plain_values(vars(args))
    tensors = {}
    if isinstance(state := document.get("state_dict"), Mapping):
        tensors = {key: value for key, value in state.items() if isinstance(key, str) and torch.is_tensor(value)}
        found["state_dict"], plain["state_dict"] = "Mapping", [str(key) for key in state if key not in tensors]
    if sum(tensor.nbytes for tensor in tensors.values()) > MAX_TENSOR_BYTES * Path(path).stat().st_size:
        raise ValueError(f"its tensors have more than {MAX_TENSOR_BYTES} bytes for each byte of the file; refused")
    columns = (  # numpy has no bfloat16
        {key: (value.float() if value.dtype == torch.bfloat16 else value).detach().contiguous().numpy()}
        for key, value in tensors.items()
    )
    return {"found": found, "plain": plain}, columns


def plain_values(document: Mapping[Any, Any]) -> Facts:
    return {str(key): value for key, value in document.items() if isinstance(value, bool | int | float | str | None)}


# NIR's graphs --------------------------------------------------------------------------------------------------------


def read_nir(path: str) -> tuple[Facts, Iterator[Columns]]:
    found: tuple[Facts, Iterator[Columns]] = script("child_nir.py")["read"](path)
    return found


READERS: dict[str, Callable[..., Any]] = {
    "aedat4": read_aedat4,
    "hdf5": read_hdf5,
    "cifar": read_cifar,
    "tonic list": list_tonic,
    "tonic": read_tonic,
    "checkpoint": read_checkpoint,
    "nir": read_nir,
}
LIBRARIES = {"checkpoint": "torch"}  # imported before memory is bounded: of other readers too small to matter
