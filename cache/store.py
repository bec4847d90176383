"""Reading a store: `open_cache(path)` checks that it is whole and of this schema, and never writes.

Arrays are opened at the first read, again in each process (a zarr store opened before a fork can deadlock), so a
`FrameStore` may be sent to workers. A store at an address is read by way of a cache on this machine, see
`cache.fetching`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from .digests import FINGERPRINT_DIGITS, stream_digest
from .documents import read_json
from .errors import StoreError
from .fetching import Files, files_at
from .places import entries, exists, is_address, object_sizes, place
from .schema import PARTIAL_SUFFIX, STORE_SUFFIX, Kind, StoreAttributes, parse_attributes
from .sharding import decode_samples

IntArray = NDArray[np.int64]


class FrameStore:
    """One converted data set, or a pair store, read-only; in a folder, or at an address ("s3://bucket/NAME.zarr").

    attributes: what it is, of what, made how (`StoreAttributes`).
    Raises StoreError when the path holds no whole store of this schema, or files are missing or cut short;
    AddressError when its address cannot be reached.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = place(path)
        self.attributes = read_attributes(self.path)
        self._files = files_at(self.path, self.attributes.files)
        self._opened: tuple[int, zarr.Group] | None = None
        self._columns: dict[str, NDArray[Any]] = {}
        _check_files(self.path, self.attributes, self._files)

    def __len__(self) -> int:
        return self.attributes.num_samples

    def __repr__(self) -> str:
        return f"FrameStore({str(self.path)!r}: {len(self)} {self.attributes.kind} of {self.attributes.dataset})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def kind(self) -> Kind:
        return self.attributes.kind

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.attributes.class_names

    @property
    def label(self) -> IntArray:
        """(N,) class indices; -1 marks a quarantined sample."""
        return self.column("label")

    @property
    def sample_id(self) -> NDArray[Any]:
        """(N,) strings "<class>/<stem>"."""
        return self.column("sample_id")

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) False where the raw sample could not be read; its row is zeros and `problem` says why."""
        valid: NDArray[np.bool_] = self.column("problem") == ""
        return valid

    def column(self, name: str) -> NDArray[Any]:
        """A column, read whole and kept."""
        if name not in self._columns:
            self._columns[name] = self.read(name)
        return self._columns[name]

    def array(self, name: str) -> zarr.Array[Any]:
        """The zarr array `name`, for lazy access. Raises StoreError when there is none, or its metadata are damaged."""
        key = f"{name}/zarr.json"
        if key not in self.attributes.files:
            raise StoreError(f"{self.path}: a store of {self.kind} has no array {name!r}")
        recorded = self.attributes.files[key].digest  # one digit of a shape would be believed
        if self._digest(key) != recorded and not (self._files.drop_damaged(key) and self._digest(key) == recorded):
            raise StoreError(
                f"{self.path / key}: the array's metadata are damaged; `dvs-transfer cache repair` makes such files "
                "again from the raw data"
            )
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), zarr.open_group(self._files.for_zarr(), mode="r"))
            except (ValueError, TypeError, KeyError, AttributeError) as error:  # a key that zarr does not know
                raise StoreError(
                    f"{self.path}/zarr.json: not the metadata of a zarr group ({error}); make the store again"
                ) from error
        found = self._opened[1][name]
        assert isinstance(found, zarr.Array)
        return found

    def read(self, name: str, rows: IntArray | None = None) -> NDArray[Any]:
        """The rows of an array, (n, ...) in the order asked for; all rows without `rows`.

        Of samples' arrays (frames, images, values) just the samples asked for are decoded, each alone: a few rows from
        anywhere cost no more than neighbours. May be called from several threads.
        Raises StoreError when a chunk does not match its checksum.
        """
        array = self.array(name)
        try:
            try:
                return self._read(array, name, rows)
            except (ValueError, RuntimeError, OSError):
                if not self._files.drop_damaged(f"{name}/"):  # of fetched copies, that have rotted on this disk
                    raise
                return self._read(array, name, rows)
        except (ValueError, RuntimeError, OSError) as error:
            raise StoreError(
                f"{self.path}/{name}: a chunk is damaged ({error}); see `dvs-transfer cache verify`"
            ) from error

    def _read(self, array: zarr.Array[Any], name: str, rows: IntArray | None) -> NDArray[Any]:
        if rows is None:
            return np.asarray(array[...])
        out = np.empty((len(rows), *array.shape[1:]), array.dtype)
        shards, numbers = np.divmod(rows, self.attributes.samples_per_shard)
        wanted = np.unique(shards).tolist()
        keys = ["/".join([name, "c", str(shard), *["0"] * (array.ndim - 1)]) for shard in wanted]
        for shard, file in zip(wanted, self._files.open_each(keys), strict=True):
            positions = np.flatnonzero(shards == shard)
            samples = [(int(numbers[i]), out[i]) for i in positions[np.argsort(numbers[positions])]]
            with file:
                decode_samples(file, self.attributes.samples_per_shard, samples)
        return out

    def _digest(self, key: str) -> str:
        with self._files.open(key) as file:
            return stream_digest(file)


def open_cache(path: str | Path) -> FrameStore:
    """Open a store for reading; see `FrameStore`."""
    return FrameStore(path)


def read_attributes(path: Path) -> StoreAttributes:
    """The checked attributes of the store at `path`, without looking at its arrays. Raises StoreError, AddressError."""
    root = path / "zarr.json"
    if not is_address(path) and not root.is_file():
        raise StoreError(f"{path}: {_what_is_wrong(path)}")
    try:
        document = read_json(root)
        raw = dict(document["attributes"])
        if (document["zarr_format"], document["node_type"]) != (3, "group"):
            raise ValueError(f"{document['node_type']!r} of zarr format {document['zarr_format']!r}")
    except FileNotFoundError:
        raise StoreError(f"{path}: {_what_is_wrong(path)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{root}: not the metadata of a zarr group ({error}); make the store again") from None
    return parse_attributes(raw, path)


def list_stores(folder: Path) -> list[Path]:
    """The whole stores in a folder, by name; at an address also those whose root is not there yet."""
    return _folders(folder, STORE_SUFFIX)


def find_stores(folder: Path, dataset: str, *recipes: str) -> dict[Path, StoreAttributes]:
    """The whole stores in a folder that were made by one of these recipes, by name; damaged ones and those of other
    schemas are none.
    """
    found = {}
    for path in list_stores(folder):
        if path.name[: -FINGERPRINT_DIGITS - len(STORE_SUFFIX)] == f"{dataset}-":
            with suppress(StoreError):
                found[path] = read_attributes(path)
    return {path: attributes for path, attributes in found.items() if attributes.recipe in recipes}


def find_store(given: str | Path, cache: Path) -> Path:
    """The store of this path, pattern or beginning of a fingerprint. Raises StoreError: several, or none."""
    path, given = place(given), str(given)
    is_pattern, is_fingerprint = any(sign in given for sign in "*?["), re.fullmatch("[0-9a-f]{4,64}", given)
    if not (is_pattern or is_fingerprint) or (not is_address(path) and path.exists()):
        return path
    found: dict[Path, StoreAttributes] = {}
    folder = path.parent if is_pattern else cache
    for fitting in _fitting(folder, path.name) if is_pattern else list_stores(cache):
        with suppress(StoreError):
            found[fitting] = read_attributes(fitting)
    if not is_pattern:
        found = {path: store for path, store in found.items() if store.fingerprint.startswith(given)}
    pairs = [path for path, store in found.items() if store.kind == "pairs"] or list(found)
    if len(pairs) == 1:
        return pairs[0]  # a store of another kind says so itself
    where = "" if is_pattern else f" in {cache}"
    if pairs:
        raise StoreError(
            f"{given}: fits several stores{where}: {', '.join(path.name for path in pairs)}; say which one"
        )
    there = ", ".join(path.name for path in list_stores(folder)) or "none"
    raise StoreError(f"{given}: fits no store{where}; the stores of {folder}: {there}")


def _fitting(folder: Path, pattern: str) -> list[Path]:
    if is_address(folder):
        return [folder / name for name in entries(folder) if fnmatchcase(name, pattern)]
    return sorted(folder.glob(pattern))


def list_partials(folder: Path) -> list[Path]:
    """What unfinished builds left in a folder, by name."""
    return _folders(folder, PARTIAL_SUFFIX)


def _folders(folder: Path, suffix: str) -> list[Path]:
    found = entries(folder).items()
    return [folder / name for name, is_folder in found if is_folder and name.endswith(suffix)]


def _what_is_wrong(path: Path) -> str:
    if path.name.endswith(PARTIAL_SUFFIX):
        return "this store is not finished; run the command that makes it again, it goes on where it stopped"
    if is_address(path) and object_sizes(path):
        return "not whole: its zarr.json, written last, is not there; run the command that makes it again"
    if not is_address(path) and path.is_dir():
        return "a folder, but no store (it has no zarr.json)"
    if exists(path):
        return "a file; a store is a folder whose name ends in .zarr"
    there = [found.name for found in list_stores(path.parent)]
    return "no such store" + (f"; in {path.parent} there are {', '.join(there)}" if there else "")


def _check_files(path: Path, attributes: StoreAttributes, files: Files) -> None:
    """A missing chunk would read as zeros: refuse the store instead."""
    sizes = files.sizes(attributes.files)
    for key, chunk in attributes.files.items():
        found = sizes.get(key)
        if found != chunk.num_bytes:
            state = "missing" if found is None else f"{found} bytes long"
            raise StoreError(
                f"{path / key}: this file is {state}, it should have {chunk.num_bytes} bytes; "
                "`dvs-transfer cache repair` makes such files again from the raw data"
            )
