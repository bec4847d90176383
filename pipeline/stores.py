"""The workspace as a whole: what lies in its cache, clearing that, and the machine that it is on."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..cache.documents import read_json
from ..cache.errors import StoreError
from ..cache.leases import Lease
from ..cache.locks import lock_path
from ..cache.pairs import PairDescription
from ..cache.places import entries, is_address, object_sizes, remove_folder, remove_objects
from ..cache.schema import PARTIAL_SUFFIX, REPAIR_SUFFIX, STORE_SUFFIX
from ..cache.store import FrameStore, list_partials, list_stores, read_attributes
from .workspace import PAIR_NOTES, Workspace


@dataclass(frozen=True)
class CacheEntry:
    """One store. state: its kind, "unfinished", or what is wrong with it.

    num_samples: of a pair store those in one of its splits, of others those that could be read.
    """

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
            store = FrameStore(path)
            num_samples = int((store.column("split") >= 0 if store.kind == "pairs" else store.valid).sum())
        except StoreError as error:
            entries.append(CacheEntry(path.name, str(error), 0, _num_bytes(path), ""))
            continue
        size = sum(chunk.num_bytes for chunk in store.attributes.files.values())
        entries.append(CacheEntry(path.name, store.kind, num_samples, size, store.attributes.created))
    return entries + [CacheEntry(path.name, "unfinished", 0, _num_bytes(path), "") for path in list_partials(folder)]


def prune(workspace: Workspace, *, unused: bool = False, dry_run: bool = False) -> list[Path]:
    """Delete unfinished builds and locks that nobody holds; with `unused` also stores that nothing leads to.

    What `preprocess` noted as a configuration's stores, and what a run was trained on, is used. Returns what was
    deleted, or with `dry_run` would be.
    """
    folder = workspace.cache
    names = {path: path.name.removesuffix(PARTIAL_SUFFIX) + STORE_SUFFIX for path in list_partials(folder)}
    there = entries(folder)
    for suffix in (".lock", REPAIR_SUFFIX):
        found = [name for name in there if name.startswith(".") and name.endswith(f"{STORE_SUFFIX}{suffix}")]
        names |= {folder / name: name[1:].removesuffix(suffix) for name in found}
    with ExitStack() as held:
        free = {name for name in set(names.values()) if _take(lock_path(folder, name), held)}
        doomed = [path for path, name in names.items() if name in free]
        if unused:
            used = _used_stores(workspace)
            doomed += [path for path in list_stores(folder) if path.name not in used]
        if not dry_run:
            for path in doomed:
                _delete(path, is_folder=there.get(path.name, True))
    return doomed


def raw_data_of(store: Path, workspace: Workspace) -> Path:
    """Where the raw data lie that `preprocess` made a store of. Raises StoreError when no note of it says so."""
    for path in _notes(workspace):
        note = read_json(path)
        with suppress(StoreError):
            for name, section in _joined(workspace.cache / note["pairs"]).items():
                if name == store.name:
                    return workspace.raw_data(str(note["config"][section]["raw"]))
    raise StoreError(f"{store}: no configuration's preprocess made it here, so say where its raw data lie: --raw PATH")


def _used_stores(workspace: Workspace) -> set[str]:
    """The names of the pair stores that notes and runs name, and of the stores that those join.

    Raises StoreError when a note or a pair store is damaged: what it leads to cannot be known, so nothing may go.
    """
    used = set()
    there = {path.name for path in list_stores(workspace.cache)}
    for note in [*_notes(workspace), *workspace.runs.glob("*/config.json")]:
        try:
            name = Path(read_json(note)["pairs"]).name
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{note}: does not say which stores it uses ({error}); mend or delete it first") from None
        if name in there:
            used |= {name, *_joined(workspace.cache / name)}
    return used


def _joined(pairs: Path) -> dict[str, str]:
    """The stores that a pair store joins: of each name the section that says where the raw data lie."""
    found = PairDescription.model_validate(read_attributes(pairs).config)
    sections = ((found.events, "events"), (found.images, "images"), (found.recorded, "images"))
    return {store.name: section for store, section in sections if store is not None}


def _notes(workspace: Workspace) -> list[Path]:
    folder = workspace.cache / PAIR_NOTES
    return [folder / name for name in entries(folder) if name.endswith(".json")]


def _delete(path: Path, *, is_folder: bool) -> None:
    """At an address a store's root goes first, so that nobody takes what is left for whole."""
    if is_address(path):
        remove_objects([path / "zarr.json"] if is_folder else [path])
    if is_folder:
        remove_folder(path)
    elif not is_address(path):
        path.unlink(missing_ok=True)


def _take(path: Path, held: ExitStack) -> bool:
    """Hold a lock until `held` is closed; False when another process does. One that does not exist is free."""
    if is_address(path):
        return Lease(path, path).is_free()
    if path.exists():
        try:
            held.enter_context(FileLock(path).acquire(timeout=0))
        except Timeout:
            return False
    return True


def _num_bytes(folder: Path) -> int:
    if is_address(folder):
        return sum(object_sizes(folder).values())
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
