"""Comparing every file of a store's arrays with the digest it was recorded with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .digests import content_digest, file_digest
from .errors import StoreError
from .places import AT_ONCE, entries, is_address, object_sizes, place, read_object
from .schema import StoreAttributes
from .store import read_attributes


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify_store`. bad: file inside the store -> what is wrong with it."""

    path: Path
    num_files: int
    num_bytes: int
    bad: dict[str, str]

    @property
    def is_whole(self) -> bool:
        return not self.bad


def verify_store(path: Path, num_threads: int | None = None) -> VerifyReport:
    """Read and digest every file of the arrays of the store at `path`; also name files that do not belong to it.

    Attributes that cannot be read or are not sealed are told as what is wrong with zarr.json.
    num_threads: by default one for each core, more at an address.  Raises StoreError when nothing is at `path`.
    """
    path = place(path)
    try:
        attributes = read_attributes(path)
    except StoreError as error:
        if not (entries(path) if is_address(path) else path.exists()):
            raise
        return VerifyReport(path=path, num_files=0, num_bytes=0, bad={"zarr.json": str(error)})
    with ThreadPoolExecutor(num_threads or (AT_ONCE if is_address(path) else os.cpu_count())) as pool:
        problems = pool.map(lambda key: _check(path, attributes, key), attributes.files)
    bad = {key: problem for key, problem in zip(attributes.files, problems, strict=True) if problem}
    for key in _files_below(path):
        if key not in attributes.files:
            bad[key] = "not a file of this store"
    total = sum(chunk.num_bytes for chunk in attributes.files.values())
    return VerifyReport(path=path, num_files=len(attributes.files), num_bytes=total, bad=dict(sorted(bad.items())))


def _files_below(path: Path) -> list[str]:
    """The files in a store's folders."""
    if is_address(path):
        return [key for key in object_sizes(path) if "/" in key]
    return [file.relative_to(path).as_posix() for file in path.glob("*/**/*") if file.is_file()]


def _check(path: Path, attributes: StoreAttributes, key: str) -> str:
    """What is wrong with one file; "" when nothing is."""
    try:
        if is_address(path):
            found = content_digest(read_object(path / key, attributes.files[key].num_bytes + 1))
        else:
            found = file_digest(path / key)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    expected = attributes.files[key].digest
    return "" if found == expected else f"digest {found}, recorded {expected}"
