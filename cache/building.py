"""Where the bytes of a store go while it is built: a folder, or objects at an address.

Both keep, below `<name>.zarr.partial`, the files of finished shards and for each shard a record that names them with
their digests; `begin` lets stand what holds, so that an interrupted build goes on, and only `finish` makes a store.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from . import durable
from .digests import file_digest
from .documents import read_json
from .errors import StoreError
from .places import (
    AT_ONCE,
    copy_objects,
    exists,
    is_address,
    object_sizes,
    remove_folder,
    remove_objects,
    write_object,
    write_objects,
)
from .schema import ChunkFile

Record = dict[str, Any]
"""Of a finished shard. files: by key their size and digest, as in `StoreAttributes`.  rows: of its samples."""


class Build(Protocol):
    """A build in progress; holds nothing open. Keys are paths inside the store."""

    def begin(self, digest: str) -> None:
        """Start, or take up what was begun for a layout of this digest. The caller holds the writer's lock."""

    def finished(self) -> set[int]:
        """The shards that have a record."""

    def put(self, shard: int, contents: Mapping[str, bytes], record: Record) -> None:
        """Write a shard's files, and then its record."""

    def read(self, shards: Iterable[int]) -> list[Record]:
        """The records of finished shards."""

    def forget(self, shard: int) -> None:
        """Drop a record."""

    def path_of(self, key: str, digest: str) -> Path:
        """Where a finished shard's file lies."""

    def finish(self, final: Path, files: Mapping[str, ChunkFile], contents: Mapping[str, bytes], root: bytes) -> None:
        """Make the store `final` of its files, those of `contents` new and the others of shards, and the root's
        metadata."""

    def discard(self) -> None:
        """Remove all of the build, if there is any."""


def build_at(partial: Path) -> Build:
    return ObjectBuild(partial) if is_address(partial) else FolderBuild(partial)


def _record_name(shard: int) -> str:
    return f"shards/{shard:06d}.json"


class FolderBuild:
    """<name>.zarr.partial/
    layout.json      the layout's digest: whose work this is
    store/           the store as it will be, and at the end is by being renamed
    shards/<k>.json  the records
    """

    def __init__(self, partial: Path) -> None:
        self.partial = partial
        self._store = partial / "store"

    def begin(self, digest: str) -> None:
        description, mine, found = self.partial / "layout.json", {"digest": digest}, None
        with suppress(FileNotFoundError, ValueError):
            found = read_json(description)
        if found != mine and self.partial.exists():
            shutil.rmtree(self.partial)
        (self.partial / "shards").mkdir(parents=True, exist_ok=True)
        self._store.mkdir(exist_ok=True)
        if not description.is_file():
            durable.write_json(description, mine)
        # What a killed writer left goes: records that do not hold, and every file that none names, those written aside
        # and the columns and metadata of a `finish` that came to no end included.
        finished = {description}
        for record in (self.partial / "shards").glob("*.json"):
            if (files := self._intact_files(record)) is not None:
                finished |= {record, *files}
        for path in self.partial.rglob("*"):
            if path not in finished and not path.is_dir():
                path.unlink()

    def finished(self) -> set[int]:
        return set(_shards_among(path.name for path in (self.partial / "shards").glob("*.json")))

    def put(self, shard: int, contents: Mapping[str, bytes], record: Record) -> None:
        for key, data in contents.items():
            self._write(key, data)
        durable.write_json(self.partial / _record_name(shard), record, flush=False, indent=None)

    def read(self, shards: Iterable[int]) -> list[Record]:
        return [read_json(self.partial / _record_name(shard)) for shard in shards]

    def forget(self, shard: int) -> None:
        (self.partial / _record_name(shard)).unlink()

    def path_of(self, key: str, digest: str) -> Path:
        return self._store / key

    def finish(self, final: Path, files: Mapping[str, ChunkFile], contents: Mapping[str, bytes], root: bytes) -> None:
        if final.exists():
            raise StoreError(f"{final}: stands where the new store belongs, and is none; move it away")
        for key, data in (*contents.items(), ("zarr.json", root)):
            self._write(key, data)
        durable.sync_tree(self._store)
        self._store.rename(final)
        durable.sync(final.parent)

    def discard(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)

    def _write(self, key: str, data: bytes) -> None:
        (self._store / key).parent.mkdir(parents=True, exist_ok=True)
        durable.write_bytes(self._store / key, data, flush=False)

    def _intact_files(self, record: Path) -> list[Path] | None:
        """A shard's files; None unless they are what its record says: a power cut may have spared neither."""
        try:
            files = {self._store / key: chunk["digest"] for key, chunk in read_json(record)["files"].items()}
            return list(files) if all(file_digest(path) == digest for path, digest in files.items()) else None
        except (FileNotFoundError, ValueError, KeyError):
            return None


class ObjectBuild:
    """<name>.zarr.partial/
    layout.json         the layout's digest
    objects/<digest>    the files of finished shards, named by what is in them
    shards/<k>.json     the records

    So a record names bytes, whoever wrote them: two writers at once, of the same raw data or of others, may write all
    they like, and what one of them finishes is of one piece. Nothing can be renamed, so `finish` copies (inside the
    object store), and writes the root's metadata last of all: a store is whole when they are there.
    """

    def __init__(self, partial: Path) -> None:
        self.partial = partial

    def begin(self, digest: str) -> None:
        """Objects that no record names stay until the end: another writer's record may be about to name them."""
        description, mine, found = self.partial / "layout.json", {"digest": digest}, None
        with suppress(FileNotFoundError, ValueError):
            found = read_json(description)
        if found != mine:
            remove_folder(self.partial)
            durable.write_json(description, mine)
        sizes = object_sizes(self.partial)
        shards = _shards_among(key.removeprefix("shards/") for key in sizes if key.startswith("shards/"))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            records = pool.map(self._read_if_sound, shards)
        broken = [
            self.partial / _record_name(shard)
            for shard, record in zip(shards, records, strict=True)
            if record is None or any(sizes.get(_object_name(file.digest)) != file.num_bytes for file in record.values())
        ]
        remove_objects(broken)

    def finished(self) -> set[int]:
        return set(_shards_among(object_sizes(self.partial / "shards")))

    def put(self, shard: int, contents: Mapping[str, bytes], record: Record) -> None:
        for key, data in contents.items():
            write_object(self.path_of(key, record["files"][key]["digest"]), data)
        durable.write_json(self.partial / _record_name(shard), record, indent=None)

    def read(self, shards: Iterable[int]) -> list[Record]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda shard: read_json(self.partial / _record_name(shard)), shards))

    def forget(self, shard: int) -> None:
        remove_objects([self.partial / _record_name(shard)])

    def path_of(self, key: str, digest: str) -> Path:
        return self.partial / _object_name(digest)

    def finish(self, final: Path, files: Mapping[str, ChunkFile], contents: Mapping[str, bytes], root: bytes) -> None:
        if exists(final / "zarr.json"):
            raise StoreError(f"{final}: stands where the new store belongs, and is none; move it away")
        copies = [(self.path_of(key, file.digest), final / key) for key, file in files.items() if key not in contents]
        try:
            copy_objects(copies)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.partial}: an object is gone ({error}): another writer is at work here, or has finished; run "
                "the same command again"
            ) from None
        write_objects(final, contents)
        found, expected = object_sizes(final), {key: file.num_bytes for key, file in files.items()}
        # What a `finish` left that came to no end goes; but the root may be that of a writer who was faster.
        remove_objects(final / key for key in found if key not in expected and key != "zarr.json")
        if any(found.get(key) != size for key, size in expected.items()):
            raise StoreError(f"{final}: holds other objects than were written; is another process at work here?")
        write_object(final / "zarr.json", root)

    def discard(self) -> None:
        remove_folder(self.partial)

    def _read_if_sound(self, shard: int) -> dict[str, ChunkFile] | None:
        """The files that a record names; None: it is none, or gone."""
        try:
            files = read_json(self.partial / _record_name(shard))["files"]
            return {key: ChunkFile.model_validate(file) for key, file in files.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _object_name(digest: str) -> str:
    return f"objects/{digest.partition(':')[2]}"


def _shards_among(names: Iterable[str]) -> list[int]:
    """Those with a record of such a name."""
    return sorted(int(name[: -len(".json")]) for name in names if re.fullmatch(r"\d+\.json", name))
