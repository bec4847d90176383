"""Zip and tar archives as lists of their files, checked as a whole before the first member is read.

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
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

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
    UInt8Array,
    array_at,
    blocks,
)

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

    def checked(self, content: Iterable[Any], location: str) -> Iterator[Any]:
        """The content, block by block. Raises SourceError at its end, where it is not what the archive announces."""
        size = crc32 = 0
        for block in content:
            size, crc32 = size + len(block), zlib.crc32(block, crc32)
            yield block
        if size != self.size or self.crc32 not in (None, crc32):
            raise SourceError(
                f"{location}: {size} bytes with the checksum {crc32:08x}, the archive announces {self.size} with "
                f"{self.crc32 or 0:08x}; the archive is damaged: fetch it again"
            )


def list_members(data: RandomAccess) -> list[Member]:
    """The files of the zip, tar or gzipped tar in `data`, told apart by its first bytes. Raises SourceError."""
    start = data.read_at(0, _TAR_BLOCK_BYTES)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        members = _zip_members(data)
    elif start.startswith(b"\x1f\x8b"):
        members = _tar_members(Inflated(data, 31, data.location))
    elif start[257:262] == b"ustar":
        members = _tar_members(data)
    else:
        raise SourceError(
            f"{data.location}: is not a zip, tar or tar.gz archive (it starts with {start[:4].hex(' ') or 'nothing'}); "
            "give a data set's folder or its published archive"
        )
    total = sum(member.size for member in members)
    if total > MAX_TOTAL_BYTES:
        raise SourceError(f"{data.location}: would unpack to {total} bytes, the limit is {MAX_TOTAL_BYTES}")
    return members


def extract_safely(archive: Path, target: Path) -> int:
    """Unpack a zip, tar or tar.gz into the new folder `target`; returns the number of files.

    Everything is checked before anything is written; the files are written aside, with plain permissions, and renamed
    into place at the end. Raises SourceError when the archive is unsafe or damaged, or when `target` holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SourceError(f"{target}: exists already; remove it or unpack {archive.name} somewhere else")
    members = list_members(FileBytes(archive))
    needed = sum(member.size for member in members)
    aside = target.with_name(target.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        free = shutil.disk_usage(aside).free
        if needed > free:
            raise SourceError(f"{target}: {needed} bytes are needed to unpack {archive}, {free} are free; make room")
        for member in members:
            path = aside / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = member.open()
            with path.open("xb") as file:
                file.writelines(member.checked(blocks(content), content.location))
        aside.replace(target)
    except OSError as error:
        raise SourceError(f"{aside}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(members)


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


# Zip ------------------------------------------------------------------------------------------------------------------


def _zip_members(data: RandomAccess) -> list[Member]:
    file: Any = AsFile(data)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
        raise SourceError(f"{data.location}: is not a whole zip archive ({error}); fetch it again") from error
    seen: set[str] = set()
    for info in infos:
        _check_name(info.filename, seen, data.location)
        _check_zip_member(info, data.location)
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise SourceError(
                f"{data.location}: members {before!r} and {info.filename!r} overlap; do not trust this file"
            )
        end, before = info.header_offset + _ZIP_LOCAL_HEADER_BYTES + info.compress_size, info.filename
    return [
        Member(str(PurePosixPath(info.filename)), info.file_size, partial(_open_zip_member, data, info), info.CRC)
        for info in infos
        if not info.is_dir()
    ]


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


def _open_zip_member(data: RandomAccess, info: zipfile.ZipInfo) -> RandomAccess:
    """A small one held and checked, a large one as a view."""
    location = f"{data.location}!{info.filename}"
    header = data.read_at(info.header_offset, _ZIP_LOCAL_HEADER_BYTES)
    if len(header) < _ZIP_LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise SourceError(f"{location}: no member starts at byte {info.header_offset}; the archive is damaged")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    start = info.header_offset + _ZIP_LOCAL_HEADER_BYTES + name_bytes + extra_bytes
    raw = Slice(data, start, info.compress_size, location)
    if info.file_size > MAX_READ_BYTES:
        return raw if info.compress_type == zipfile.ZIP_STORED else Inflated(raw, -15, location)
    content: bytes | UInt8Array
    if info.compress_type == zipfile.ZIP_STORED:
        content = array_at(raw, 0, raw.size)
    else:
        try:
            content = zlib.decompressobj(-15).decompress(raw.read_at(0, raw.size), info.file_size + 1)
        except zlib.error as error:
            raise SourceError(f"{location}: damaged ({error}); fetch the archive again") from error
    member = Member(info.filename, info.file_size, lambda: raw, info.CRC)
    for _ in member.checked([content], location):
        pass
    return InMemory(content, location)


# Tar ------------------------------------------------------------------------------------------------------------------


def _tar_members(data: RandomAccess) -> list[Member]:
    members: list[Member] = []
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=AsFile(data, MAX_TAR_HEADER_BYTES), mode="r:") as archive:
            for info in archive:
                _check_name(info.name, seen, data.location)
                if not (info.isreg() or info.isdir()) or info.issparse():
                    raise SourceError(f"{data.location}: member {info.name!r} is a link, a device or sparse; refused")
                if info.isreg():
                    content = Slice(data, info.offset_data, info.size, f"{data.location}!{info.name}")
                    members.append(Member(str(PurePosixPath(info.name)), info.size, partial(_as_it_is, content)))
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # a long row of pax headers recurses
        raise SourceError(f"{data.location}: is not a whole tar archive ({error}); fetch it again") from error
    # The standard library takes a damaged header for the end; the end is a block of zeros.
    if data.read_at(end, _TAR_BLOCK_BYTES) != bytes(_TAR_BLOCK_BYTES):
        raise SourceError(f"{data.location}: damaged or cut off at byte {end} of the tar archive; fetch it again")
    return members


def _as_it_is(content: Slice) -> RandomAccess:
    return content
