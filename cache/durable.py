"""Writing files so that a reader, or a run after a crash, sees all of a file or none of it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .places import is_address, write_object

TEMPORARY_SUFFIX = ".tmp"


def write_bytes(path: Path, data: bytes | bytearray | memoryview, *, flush: bool = True) -> None:
    """Write `data` aside, flush it to the disk and rename it to `path`. Nothing is left behind when that fails.

    Without `flush` the file survives the end of the process, not a power cut: for those who flush many at once later.
    Raises OSError with the file's name (disk full, no permission). At an address it is an object, which is so anyway.
    """
    if is_address(path):
        write_object(path, data)
        return
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        with naming(path, aside):
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if flush:
        sync(path.parent)


def write_json(
    path: Path, document: Mapping[str, Any] | list[Any], *, flush: bool = True, indent: int | None = 1
) -> None:
    """`write_bytes` of a JSON document with a newline at its end; without `indent` faster, and on one line."""
    write_bytes(path, (json.dumps(document, indent=indent, ensure_ascii=False) + "\n").encode(), flush=flush)


def append_json(path: Path, document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Add a line with a JSON document to a file, and flush it to the disk. Raises OSError with the file's name."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(document) + "\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def naming(path: Path, aside: Path | None = None) -> Iterator[None]:
    """An OSError in here that names no file (of a call on an open one), or the file aside, comes to name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, aside and str(aside)):
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk; many at once, since each only waits for the disk."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, [folder, *folder.rglob("*")]))


def remove_temporaries(folder: Path, names: str = "*") -> None:
    """Delete what a killed writer of files with such names left below `folder`. The caller holds their lock."""
    if is_address(folder):
        return
    for leftover in list(folder.rglob(f"{names}{TEMPORARY_SUFFIX}")):
        leftover.unlink(missing_ok=True)
