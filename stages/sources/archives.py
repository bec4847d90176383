"""Zip and tar archives as read-only trees of files, checked as a whole before the first member is read.

Refused: names that leave the target (`..`, absolute, backslash), links, devices, the same name twice, members that
overlap, encryption, methods other than stored and deflate, sparse files, and more members, bytes or compression than
any data set needs. Nothing is ever written under a member's name without these checks.
Format: PKWARE APPNOTE 6.3.10, POSIX.1-2001 pax.
"""

from __future__ import annotations

import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias, cast

from ...cache.errors import SourceError
from .random_access import (
    MAX_RATIO,
    MAX_READ_BYTES,
    AsFile,
    FileBytes,
    Inflated,
    InMemory,
    RandomAccess,
    Slice,
    blocks,
)
from .tree import FileTree

MAX_MEMBERS: Final = 200_000  # N-MNIST, the largest, has 70,000
MAX_TOTAL_BYTES: Final = 1 << 36  # 64 GiB unpacked
_FREE_RATIO_BYTES: Final = 1 << 20  # a member this small may be as compressible as it likes
_ZIP_LOCAL_HEADER_BYTES: Final = 30
_TAR_BLOCK_BYTES: Final = 512
MAX_TAR_HEADER_BYTES: Final = 1 << 14  # a long name and some times; what reads it takes the square of its length


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its path, its size in bytes, and how to open its content."""

    name: str
    size: int
    open: Callable[[], RandomAccess]
    crc32: int | None = None  # where the archive has one for each member

    def check(self, content: RandomAccess) -> None:
        """One pass over the content. Raises SourceError where it is not what the archive announces."""
        crc32 = 0
        for block in blocks(content):
            crc32 = zlib.crc32(block, crc32)
        if content.size != self.size or self.crc32 not in (None, crc32):
            raise SourceError(
                f"{content.location}: {content.size} bytes with the checksum {crc32:08x}, the archive announces "
                f"{self.size} with {self.crc32 or 0:08x}; fetch it again"
            )


class ArchiveTree(FileTree):
    """The files of an archive. Raises SourceError at once when any member is unsafe (see the module's text)."""

    def __init__(self, location: str, members: Iterable[Member]) -> None:
        self.location = location
        self._members = {member.name: member for member in members}
        self._folders: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in self._members:
            path = PurePosixPath(name)
            self._folders.setdefault(_parent(path), (set(), set()))[1].add(path.name)
            for folder in [p for p in path.parents if p.name]:
                self._folders.setdefault(_parent(folder), (set(), set()))[0].add(folder.name)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every regular file of the archive."""
        return tuple(self._members.values())

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._folders.get(folder, (set(), set()))
        return sorted(folders), sorted(files)

    def files_below(self, folder: str) -> Iterator[str]:
        return (name for name in self._members if not folder or name.startswith(f"{folder}/"))

    def content(self, name: str) -> bytes | RandomAccess:
        member = self._member(name)
        content = member.open()
        if member.size > MAX_READ_BYTES:
            member.check(content)
            return content
        held = content.read_at(0, member.size)
        if len(held) != member.size:
            raise SourceError(f"{self.where(name)}: {len(held)} bytes where the archive announces {member.size}")
        return held

    def exists(self, name: str) -> bool:
        return name in self._members

    def where(self, name: str) -> str:
        return f"{self.location}!{name}" if name else self.location

    def open(self, name: str) -> RandomAccess:
        return self._member(name).open()

    def _member(self, name: str) -> Member:
        if name not in self._members:
            raise SourceError(f"{self.location}: has no member {name}; the archive changed since it was opened")
        return self._members[name]


def _parent(path: PurePosixPath) -> str:
    return "" if str(path.parent) == "." else str(path.parent)


def open_archive(data: RandomAccess) -> ArchiveTree:
    """The archive in `data`: zip, tar or gzipped tar, told apart by their first bytes. Raises SourceError."""
    start = data.read_at(0, _TAR_BLOCK_BYTES)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ArchiveTree(data.location, _zip_members(data))
    if start.startswith(b"\x1f\x8b"):
        return ArchiveTree(data.location, _tar_members(Inflated(data, 31, data.location)))
    if start[257:262] == b"ustar":
        return ArchiveTree(data.location, _tar_members(data))
    raise SourceError(
        f"{data.location}: is not a zip, tar or tar.gz archive (it starts with {start[:4].hex(' ') or 'nothing'}); "
        "give a data set's folder or its published archive"
    )


def extract_safely(archive: Path, target: Path) -> int:
    """Unpack a zip, tar or tar.gz into the new folder `target`; returns the number of files.

    Everything is checked before anything is written; the files are written aside, with plain permissions, and renamed
    into place at the end. Raises SourceError when the archive is unsafe or damaged, or when `target` holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SourceError(f"{target}: exists already; remove it or unpack {archive.name} somewhere else")
    tree = open_archive(FileBytes(archive))
    needed = sum(member.size for member in tree.members)
    aside = target.with_name(target.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        free = shutil.disk_usage(aside).free
        if needed > free:
            raise SourceError(f"{target}: {needed} bytes are needed to unpack {archive}, {free} are free; make room")
        for member in tree.members:
            _write(member, aside / member.name)
        aside.replace(target)
    except OSError as error:
        raise SourceError(f"{aside}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(tree.members)


def _write(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = member.open()
    with path.open("xb") as file:
        for offset in range(0, member.size, 1 << 20):
            file.write(content.read_at(offset, 1 << 20))
        if file.tell() != member.size:
            raise SourceError(f"{content.location}: {file.tell()} bytes where the archive announces {member.size}")


def _check_name(name: str, seen: set[str], location: str) -> None:
    path = PurePosixPath(name)
    if not name:
        raise SourceError(f"{location}: has a member without a name; the archive is damaged: fetch it again")
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in "".join(path.parts[:1])
    if unsafe:
        raise SourceError(
            f"{location}: member {name!r} would be written outside the target folder; do not trust this file"
        )
    if str(path) in seen:
        raise SourceError(f"{location}: member {name!r} is there twice, so which one is meant is open; do not trust it")
    seen.add(str(path))
    if len(seen) > MAX_MEMBERS:
        raise SourceError(f"{location}: more than {MAX_MEMBERS} members, the limit; this is not a published data set")


def _check_sizes(total: int, location: str) -> None:
    if total > MAX_TOTAL_BYTES:
        raise SourceError(f"{location}: would unpack to {total} bytes, the limit is {MAX_TOTAL_BYTES}")


# Zip ------------------------------------------------------------------------------------------------------------------


def _zip_members(data: RandomAccess) -> list[Member]:
    try:
        with zipfile.ZipFile(cast("_ZipInput", AsFile(data))) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        raise SourceError(f"{data.location}: is not a whole zip archive ({error}); fetch it again") from error
    seen: set[str] = set()
    for info in infos:
        _check_name(info.filename, seen, data.location)
        _check_zip_member(info, data.location)
    _check_overlap(infos, data.location)
    _check_sizes(sum(info.file_size for info in infos), data.location)
    return [
        Member(str(PurePosixPath(info.filename)), info.file_size, _ZipContent(data, info), info.CRC)
        for info in infos
        if not info.is_dir()
    ]


_ZipInput: TypeAlias = "zipfile._ZipReadableTellable"  # only typeshed knows this name


def _check_zip_member(info: zipfile.ZipInfo, location: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    problem = None
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link or a device"
    elif info.flag_bits & 0x1:
        problem = "is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"is compressed with method {info.compress_type}; stored (0) and deflate (8) are read"
    elif info.file_size > max(_FREE_RATIO_BYTES, MAX_RATIO * info.compress_size):
        problem = f"unpacks {info.compress_size} bytes to {info.file_size}, more than {MAX_RATIO} times as many"
    if problem:
        raise SourceError(f"{location}: member {info.filename!r} {problem}; refused")


def _check_overlap(infos: list[zipfile.ZipInfo], location: str) -> None:
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise SourceError(f"{location}: members {before!r} and {info.filename!r} overlap; do not trust this file")
        end, before = info.header_offset + _ZIP_LOCAL_HEADER_BYTES + info.compress_size, info.filename


@dataclass(frozen=True, slots=True)
class _ZipContent:
    """Opens one member's content: small ones at once and with their checksum, large ones as a view."""

    data: RandomAccess
    info: zipfile.ZipInfo

    def __call__(self) -> RandomAccess:
        info, location = self.info, f"{self.data.location}!{self.info.filename}"
        header = self.data.read_at(info.header_offset, _ZIP_LOCAL_HEADER_BYTES)
        if len(header) < _ZIP_LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
            raise SourceError(f"{location}: no member starts at byte {info.header_offset}; the archive is damaged")
        name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
        start = info.header_offset + _ZIP_LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        raw = Slice(self.data, start, info.compress_size, location)
        if info.file_size > MAX_READ_BYTES:
            return raw if info.compress_type == zipfile.ZIP_STORED else Inflated(raw, -15, location)
        return InMemory(_small_content(raw, info), location)


def _small_content(raw: RandomAccess, info: zipfile.ZipInfo) -> bytes:
    content = raw.read_at(0, raw.size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(content, info.file_size + 1)
        except zlib.error as error:
            raise SourceError(f"{raw.location}: damaged ({error}); fetch the archive again") from error
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise SourceError(
            f"{raw.location}: content of {len(content)} bytes does not match the archive's size ({info.file_size}) and "
            f"checksum ({info.CRC:08x}); the archive is damaged: fetch it again"
        )
    return content


# Tar ------------------------------------------------------------------------------------------------------------------


def _tar_members(data: RandomAccess) -> list[Member]:
    try:
        with tarfile.open(fileobj=AsFile(data, MAX_TAR_HEADER_BYTES), mode="r:") as archive:
            infos = _checked_tar_members(archive, data.location)
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # a long row of pax headers recurses
        raise SourceError(f"{data.location}: is not a whole tar archive ({error}); fetch it again") from error
    # The standard library takes a damaged header for the end; the end is a block of zeros.
    if data.read_at(end, _TAR_BLOCK_BYTES) != bytes(_TAR_BLOCK_BYTES):
        raise SourceError(f"{data.location}: damaged or cut off at byte {end} of the tar archive; fetch it again")
    _check_sizes(sum(info.size for info in infos), data.location)
    return [
        Member(str(PurePosixPath(info.name)), info.size, _TarContent(data, info.offset_data, info.size, info.name))
        for info in infos
        if info.isreg()
    ]


def _checked_tar_members(archive: tarfile.TarFile, location: str) -> list[tarfile.TarInfo]:
    infos: list[tarfile.TarInfo] = []
    seen: set[str] = set()
    for info in archive:
        _check_name(info.name, seen, location)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise SourceError(f"{location}: member {info.name!r} is a link, a device or sparse; refused")
        infos.append(info)
    return infos


@dataclass(frozen=True, slots=True)
class _TarContent:
    data: RandomAccess
    offset: int
    size: int
    name: str

    def __call__(self) -> RandomAccess:
        return Slice(self.data, self.offset, self.size, f"{self.data.location}!{self.name}")
