"""The files of a store, opened one by one: those of a folder, or those of an address by way of a cache on this machine.

The cache is a folder that all processes of a user share, of files that are named by the digest of what is in them. An
object is fetched whole, compared with the digest that the store recorded, written aside and renamed; so a damaged one
is told, and is never kept. What was used least recently goes where the folder has more than its bound.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.storage import LocalStore, MemoryStore

from . import durable
from .digests import content_digest, stream_digest
from .documents import read_document
from .errors import ConfigError, StoreError
from .places import AT_ONCE, is_address, object_sizes, read_object
from .schema import ChunkFile

SHARD_CACHE_VARIABLE: Final = "DVS_TRANSFER_SHARD_CACHE"  # the folder
SHARD_CACHE_GB_VARIABLE: Final = "DVS_TRANSFER_SHARD_CACHE_GB"  # its bound, in 1e9 bytes
DEFAULT_CACHE_GB: Final = 20.0
AHEAD_BYTES: Final = 1 << 28  # that one read fetches ahead
_ABANDONED_S: Final = 3600.0  # a file that is written aside for so long is a dead process's
_COPY: Final = re.compile(rf"[0-9a-f]{{32}}(\.[0-9a-f]{{8}}{re.escape(durable.TEMPORARY_SUFFIX)})?")  # their names


class Files(Protocol):
    """A store's files, by their paths inside it."""

    def sizes(self, keys: Iterable[str]) -> Mapping[str, int]:
        """The bytes of those that are there."""

    def open(self, key: str) -> BinaryIO:
        """Raises OSError, StoreError."""

    def open_each(self, keys: Sequence[str]) -> Iterator[BinaryIO]:
        """One after the other, perhaps fetched ahead."""

    def drop_damaged(self, prefix: str) -> bool:
        """Forget copies of files below `prefix` that are not what they should be; whether there were any."""

    def for_zarr(self) -> Store:
        """The whole store, to read."""


def files_at(path: Path, files: Mapping[str, ChunkFile]) -> Files:
    return FetchedFiles(path, files) if is_address(path) else FolderFiles(path)


@dataclass(frozen=True)
class FolderFiles:
    path: Path

    def sizes(self, keys: Iterable[str]) -> Mapping[str, int]:
        return {key: file.stat().st_size for key in keys if (file := self.path / key).is_file()}

    def open(self, key: str) -> BinaryIO:
        return (self.path / key).open("rb")

    def open_each(self, keys: Sequence[str]) -> Iterator[BinaryIO]:
        return map(self.open, keys)

    def drop_damaged(self, prefix: str) -> bool:
        return False

    def for_zarr(self) -> Store:
        return LocalStore(self.path, read_only=True)


@dataclass
class FetchedFiles:
    """Fetches in any process and thread."""

    address: Path
    files: Mapping[str, ChunkFile]
    _unswept: float = field(init=False, default=float("inf"))  # bytes that were added to the cache since it was bounded

    def sizes(self, keys: Iterable[str]) -> Mapping[str, int]:
        return object_sizes(self.address)

    def open(self, key: str) -> BinaryIO:
        with suppress(OSError):  # what cannot be opened is fetched, and where that cannot be kept, it is told
            file = self._copy(key).open("rb")
            if os.fstat(file.fileno()).st_size == self.files[key].num_bytes:
                with suppress(OSError):  # another user's, or on a disk that is read alone
                    os.utime(file.fileno())  # used now
                return file
            file.close()
        return self._fetch(key)

    def open_each(self, keys: Sequence[str]) -> Iterator[BinaryIO]:
        largest = max((self.files[key].num_bytes for key in keys), default=0)
        at_once = max(1, min(AT_ONCE, AHEAD_BYTES // max(1, largest)))
        for first in range(0, len(keys), at_once):
            some = keys[first : first + at_once]
            missing = [key for key in some if not self._copy(key).exists()]
            fetched: dict[str, BinaryIO] = {}
            if len(missing) > 1:
                with ThreadPoolExecutor(len(missing)) as pool:
                    fetched = dict(zip(missing, pool.map(self._fetch, missing), strict=True))
            yield from (fetched.pop(key) if key in fetched else self.open(key) for key in some)

    def drop_damaged(self, prefix: str) -> bool:
        found = False
        for key in self.files:
            if key.startswith(prefix):
                copy = self._copy(key)
                with suppress(FileNotFoundError):
                    with copy.open("rb") as file:
                        is_damaged = stream_digest(file) != self.files[key].digest
                    if is_damaged:
                        copy.unlink()
                        found = True
        return found

    def for_zarr(self) -> Store:
        return _FetchedStore(self)

    def _copy(self, key: str) -> Path:
        return _folder() / self.files[key].digest.partition(":")[2]

    def _fetch(self, key: str) -> BinaryIO:
        """An object, of which a copy is then kept."""
        address, chunk, copy = self.address / key, self.files[key], self._copy(key)
        try:
            data = read_object(address, chunk.num_bytes + 1)
        except FileNotFoundError:
            raise StoreError(
                f"{address}: this object is gone since the store was opened; `dvs-transfer cache repair` makes it "
                "again from the raw data"
            ) from None
        if (digest := content_digest(data)) != chunk.digest:
            raise StoreError(
                f"{address}: this object is damaged (digest {digest}, recorded {chunk.digest}); `dvs-transfer cache "
                "repair` makes it again from the raw data"
            )
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(copy, data, flush=False)
        except OSError as error:
            raise StoreError(
                f"{copy}: the copy of a shard cannot be written ({error.strerror}); name a folder with room in "
                f"${SHARD_CACHE_VARIABLE}, or less room in ${SHARD_CACHE_GB_VARIABLE}"
            ) from error
        self._bound(len(data))
        return io.BytesIO(data)  # whoever bounds the cache may take the copy at once

    def _bound(self, num_bytes: int) -> None:
        """Keep the cache below its bound; looked after again when a twentieth of it was added."""
        self._unswept += num_bytes
        limit = _max_bytes()
        if self._unswept > limit / 20:
            self._unswept = 0
            _sweep(_folder(), limit)


class _FetchedStore(MemoryStore):  # type: ignore[misc]
    """zarr's view of fetched files. A missing object is an error here, as zarr would read zeros in its place."""

    def __init__(self, fetched: FetchedFiles) -> None:
        super().__init__(read_only=True)
        self._fetched = fetched
        self._compared: set[str] = set()  # keys of whose copies it is known that they have not rotted

    async def get(self, key: str, prototype: Any = None, byte_range: ByteRequest | None = None) -> Any:
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def exists(self, key: str) -> bool:
        return key in self._fetched.files

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        if key == "zarr.json":
            return read_document(self._fetched.address / key)
        if key not in self._fetched.files:
            return None
        if key not in self._compared:
            self._fetched.drop_damaged(key)
            self._compared.add(key)
        with self._fetched.open(key) as file:
            if isinstance(byte_range, RangeByteRequest):
                file.seek(byte_range.start)
                return file.read(byte_range.end - byte_range.start)
            if isinstance(byte_range, OffsetByteRequest):
                file.seek(byte_range.offset)
            elif isinstance(byte_range, SuffixByteRequest):
                file.seek(max(0, self._fetched.files[key].num_bytes - byte_range.suffix))
            return file.read()


def _folder() -> Path:
    named = os.environ.get(SHARD_CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "dvs-transfer" / "shards"


def _max_bytes() -> float:
    named = os.environ.get(SHARD_CACHE_GB_VARIABLE) or DEFAULT_CACHE_GB
    try:
        return float(named) * 1e9
    except ValueError:
        raise ConfigError(f"${SHARD_CACHE_GB_VARIABLE} = {named!r}: expected a number of gigabytes") from None


def _sweep(folder: Path, max_bytes: float) -> None:
    """Remove what was used least recently, down to nine tenths of the bound, and what dead processes left.

    Copies alone: whoever named the folder may keep other files in it.
    """
    found: list[tuple[float, int, str]] = []
    with os.scandir(folder) as entries:
        for entry in (entry for entry in entries if _COPY.fullmatch(entry.name)):
            with suppress(FileNotFoundError):  # another process may do the same
                about = entry.stat()
                found.append((about.st_mtime, about.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    keep = total if total <= max_bytes else 0.9 * max_bytes
    for modified, size, path in sorted(found):
        is_aside = path.endswith(durable.TEMPORARY_SUFFIX)
        if time.time() - modified > _ABANDONED_S if is_aside else total > keep:
            with suppress(OSError):  # another user's
                Path(path).unlink(missing_ok=True)
                total -= size
