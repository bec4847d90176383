"""The cache as a whole: what lies in it, and clearing it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..cache.errors import StoreError
from ..cache.locks import lock_path
from ..cache.pairs import PairDescription
from ..cache.schema import PARTIAL_SUFFIX, STORE_SUFFIX, StoreAttributes
from ..cache.store import list_partials, list_stores, read_attributes


@dataclass(frozen=True)
class CacheEntry:
    """One store. state: its kind, "unfinished", or what is wrong with it."""

    name: str
    state: str
    num_samples: int
    num_bytes: int
    created: str


def list_cache(folder: Path) -> list[CacheEntry]:
    """Every store and unfinished build in the folder."""
    entries = []
    for path in list_stores(folder):
        try:
            attributes = read_attributes(path)
        except StoreError as error:
            entries.append(CacheEntry(path.name, str(error), 0, _num_bytes(path), ""))
            continue
        size = sum(chunk.num_bytes for chunk in attributes.files.values())
        entries.append(CacheEntry(path.name, attributes.kind, attributes.num_samples, size, attributes.created))
    return entries + [CacheEntry(path.name, "unfinished", 0, _num_bytes(path), "") for path in list_partials(folder)]


def prune(folder: Path, *, superseded: bool = False, dry_run: bool = False) -> list[Path]:
    """Delete unfinished builds and locks that nobody holds, and with `superseded` stores of which a newer one exists.

    A store is superseded when a newer one of its data set was made and no newest pair store names it. Returns what was
    deleted, or with `dry_run` would be.
    """
    names = {path: path.name.removesuffix(PARTIAL_SUFFIX) + STORE_SUFFIX for path in list_partials(folder)}
    names |= {path: path.name[1:].removesuffix(".lock") for path in folder.glob(f".*{STORE_SUFFIX}.lock")}
    with ExitStack() as held:
        free = {name for name in set(names.values()) if _take(lock_path(folder, name), held)}
        doomed = [path for path, name in names.items() if name in free]
        if superseded:
            doomed += _superseded(folder)
        if not dry_run:
            for path in doomed:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return doomed


def _superseded(folder: Path) -> list[Path]:
    versions: dict[str, list[tuple[str, Path, StoreAttributes]]] = defaultdict(list)
    for path in list_stores(folder):
        attributes = read_attributes(path)
        versions[attributes.dataset].append((attributes.created, path, attributes))
    newest = [max(found, key=lambda entry: entry[:2]) for found in versions.values()]
    kept = {path for _, path, _ in newest}
    for _, _, attributes in newest:
        if attributes.kind == "pairs":
            description = PairDescription.model_validate(attributes.config)
            kept |= {folder / description.events.name, folder / description.images.name}
    return sorted(path for found in versions.values() for _, path, _ in found if path not in kept)


def _take(path: Path, held: ExitStack) -> bool:
    """Hold a lock until `held` is closed; False when another process does. One that does not exist is free."""
    if path.exists():
        try:
            held.enter_context(FileLock(path).acquire(timeout=0))
        except Timeout:
            return False
    return True


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
