"""Random access to bytes that lie in a file, in a part of a file, or compressed inside one; safe for several threads.

This is what lets an archive inside an archive be read in place: a stored member is a `Slice` of the file, a deflated
one an `Inflated` view that remembers the decoder's state every few MiB and inflates from the nearest one.
"""

from __future__ import annotations

import bisect
import io
import os
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError

UInt8Array = NDArray[np.uint8]

MAX_READ_BYTES: Final = 1 << 26  # no header, directory or sample of a known data set comes near 64 MiB
MAX_RATIO: Final = 200  # times; deflate reaches 1032 on zeros, recordings and photos stay below 10
MAX_DIRECTORY_BYTES: Final = 1 << 24  # of a zip; 200,000 members have room
MAX_LISTING_S: Final = 120  # CPU time; the standard library's regular expressions can be made to need years
_INPUT_BYTES: Final = 1 << 16  # fed to a decoder at once; a copy of the decoder keeps what it has not used yet
_OUTPUT_BYTES: Final = 1 << 18
_CHECKPOINT_BYTES: Final = 1 << 23  # a copy takes at most 110 kB: 1.3 % of what it spans
_GZIP_WBITS: Final = 31
_GZIP_SIGNATURE: Final = b"\x1f\x8b"


class RandomAccess(Protocol):
    """Bytes of known `size` that can be read at any offset. `location` is how messages name them."""

    location: str
    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes [offset, offset + size), fewer at the end. Raises SourceError when they cannot be read."""
        ...

    def require_unchanged(self) -> None:
        """Raises SourceError when the file that they lie in has been written or replaced since it was opened."""
        ...


class FileBytes:
    """The bytes of a file on disk, at `path`."""

    def __init__(self, path: Path) -> None:
        self.path, self.location = path, str(path)
        self._descriptor = _open(self.location)
        weakref.finalize(self, os.close, self._descriptor)
        self._before = os.fstat(self._descriptor)
        self.size = self._before.st_size

    def require_unchanged(self) -> None:
        try:
            now = self.path.stat()
        except OSError as error:
            raise SourceError(f"{self.location}: is gone while it was read: {error.strerror}") from error
        if any(getattr(now, field) != getattr(self._before, field) for field in ("st_ino", "st_size", "st_mtime_ns")):
            raise SourceError(f"{self.location}: changed while it was read; leave it alone, and run the command again")

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            return _pread(self._descriptor, _checked(size, self.location), offset)
        except OSError as error:
            raise SourceError(f"{self.location}: cannot be read at byte {offset}: {error.strerror}") from error

    def array_at(self, offset: int, size: int) -> UInt8Array:
        """What `read_at` gives, in memory that may be written to."""
        values = np.empty(_checked(max(0, min(size, self.size - offset)), self.location), np.uint8)
        count = 0
        try:
            while count < len(values) and (more := os.preadv(self._descriptor, [values.data[count:]], offset + count)):
                count += more
        except OSError as error:
            raise SourceError(f"{self.location}: cannot be read at byte {offset}: {error.strerror}") from error
        return values[:count]


def read_file(path: str) -> bytes | None:
    """All of a file, None where it has more than `MAX_READ_BYTES`; without the cost of a `FileBytes`."""
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        return _pread(descriptor, size, 0) if size <= MAX_READ_BYTES else None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    """What `os.pread` gives until nothing more comes: file systems on a network may give less at once than there is."""
    data = os.pread(descriptor, size, offset)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
        data += more
    return data


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}; see whether it is there") from error


class InMemory:
    """Bytes that are held already."""

    def __init__(self, content: bytes | UInt8Array, location: str) -> None:
        self.content, self.location, self.size = content, location, len(content)

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def require_unchanged(self) -> None:
        pass  # nobody writes to it


def as_access(data: bytes | RandomAccess, location: str) -> RandomAccess:
    """`data`, or bytes held already under the name `location`."""
    return InMemory(data, location) if isinstance(data, bytes) else data


class Slice:
    """A part of other bytes, such as a member that an archive stores uncompressed."""

    def __init__(self, parent: RandomAccess, offset: int, size: int, location: str) -> None:
        self._parent, self._offset, self.size, self.location = parent, offset, size, location

    def read_at(self, offset: int, size: int) -> bytes:
        return self._parent.read_at(self._offset + offset, max(0, min(size, self.size - offset)))

    def array_at(self, offset: int, size: int) -> UInt8Array:
        return array_at(self._parent, self._offset + offset, max(0, min(size, self.size - offset)))

    def require_unchanged(self) -> None:
        self._parent.require_unchanged()


def array_at(content: RandomAccess, offset: int, size: int) -> UInt8Array:
    """The bytes [offset, offset + size) of what lies in one piece, as an array that may be written to.

    What is held as an array is not copied: its owner must not be read again, if it is written to. Raises SourceError.
    """
    if isinstance(content, FileBytes | Slice):
        return content.array_at(offset, size)
    if isinstance(content, Inflated) and content.held is not None:
        content = content.held
    if isinstance(content, InMemory) and isinstance(content.content, np.ndarray):
        return content.content[offset : offset + size]
    return np.frombuffer(content.read_at(offset, size), np.uint8).copy()


class Inflated:
    """A deflated stream (`wbits` -15: raw, 31: gzip, all its members) as if it were not, in bounded memory.

    Opening inflates it once from end to end and keeps a copy of the decoder every 8 MiB; a read starts at the copy
    before it, or where the last read ended, so reading in order costs nothing extra. A stream of up to 8 MiB is held.
    Raises SourceError when the stream is damaged, cut short, followed by something else in a gzip file, or inflates to
    more than `MAX_RATIO` times its size and more than `free_bytes`, up to which it may be as compressible as it likes.
    """

    def __init__(self, parent: RandomAccess, wbits: int, location: str, free_bytes: int = 0) -> None:
        self.location = location
        self.require_unchanged = parent.require_unchanged
        self._lock = threading.Lock()
        self._cursor = _Decoder(parent, wbits, location)
        self._checkpoints = [self._cursor.copy()]
        limit = max(MAX_RATIO * parent.size, free_bytes)
        held = bytearray()  # no list of blocks, which are as short as a gzip file's members
        while self._cursor.step():
            if self._cursor.out <= _CHECKPOINT_BYTES:
                held += self._cursor.block
            if self._cursor.out > limit:
                raise SourceError(
                    f"{location}: {parent.size} compressed bytes inflate to more than {limit}, and more than "
                    f"{MAX_RATIO} times as many; this is no recording or archive of a data set"
                )
            if self._cursor.out - self._checkpoints[-1].out >= _CHECKPOINT_BYTES:
                self._checkpoints.append(self._cursor.copy())
        self.size = self._cursor.out
        self.held: InMemory | None = None
        if self.size <= _CHECKPOINT_BYTES:
            self.held = InMemory(np.frombuffer(held, np.uint8), location)

    def read_at(self, offset: int, size: int) -> bytes:
        if self.held is not None:
            return self.held.read_at(offset, size)
        end = min(offset + _checked(size, self.location), self.size)
        with self._lock:
            if not self._cursor.start() <= offset <= self._cursor.start() + _CHECKPOINT_BYTES:
                nearest = bisect.bisect_right(self._checkpoints, offset, key=lambda decoder: decoder.out) - 1
                self._cursor = self._checkpoints[nearest].copy()
            found = bytearray()
            while offset < end:
                if self._cursor.out <= offset and not self._cursor.step():
                    break
                start = self._cursor.start()
                piece = self._cursor.block[offset - start : end - start]
                found += piece
                offset += len(piece)
            return bytes(found)


class _Decoder:
    """A place in a deflated stream: `block` is the last step's output, the bytes before `out` of the plain stream."""

    def __init__(self, parent: RandomAccess, wbits: int, location: str) -> None:
        self._parent, self._wbits, self._location = parent, wbits, location
        self._zlib: Any = zlib.decompressobj(wbits)
        self._next_byte = self.out = 0
        self._ahead = b""  # read with the end of the member before, and not given to the decoder yet
        self.block = b""

    def start(self) -> int:
        return self.out - len(self.block)

    def copy(self) -> _Decoder:
        twin = object.__new__(_Decoder)
        twin.__dict__.update(self.__dict__, _zlib=self._zlib.copy(), block=b"")
        return twin

    def step(self) -> bool:
        """Inflate the next block; False at the end of the stream."""
        while not self._zlib.eof or self._begin_member():
            data = self._zlib.unconsumed_tail or self._ahead or self._read()
            self._ahead = b""
            try:
                block = self._zlib.decompress(data, _OUTPUT_BYTES)
            except zlib.error as error:
                raise SourceError(
                    f"{self._location}: damaged before compressed byte {self._next_byte} ({error}); fetch it again"
                ) from error
            if block:
                self.block = block
                self.out += len(block)
                return True
            if not data and not self._zlib.eof:
                raise SourceError(
                    f"{self._location}: the compressed data end after {self._next_byte} bytes, before their end mark; "
                    "the archive is truncated: fetch it again"
                )
        return False

    def _read(self) -> bytes:
        data = self._parent.read_at(self._next_byte, _INPUT_BYTES)
        self._next_byte += len(data)
        return data

    def _begin_member(self) -> bool:
        """Go on to the next member of a gzip file, over zeros; False where none follows. Raises SourceError."""
        if self._wbits != _GZIP_WBITS:
            return False
        rest = self._zlib.unused_data
        end = self._next_byte - len(rest)
        while len(rest := rest.lstrip(b"\0")) < len(_GZIP_SIGNATURE) and (more := self._read()):
            rest += more
        if not rest:
            return False
        if not rest.startswith(_GZIP_SIGNATURE):
            raise SourceError(
                f"{self._location}: after the member that ends at byte {end} comes {rest[:2].hex(' ')} at byte "
                f"{self._next_byte - len(rest)}, expected another gzip member, zeros or the end of the file; fetch it "
                "again, or cut off what is no part of it"
            )
        self._zlib, self._ahead = zlib.decompressobj(self._wbits), rest
        return True


class AsFile(io.RawIOBase):
    """Random access with a position, for the standard library's archive readers.

    They read directories and headers alone, so a read of more than `max_read` bytes raises SourceError, as does one
    after `MAX_LISTING_S` of this thread's CPU time.
    """

    def __init__(self, data: RandomAccess, max_read: int = MAX_DIRECTORY_BYTES) -> None:
        self._data, self._position, self._max_read = data, 0, max_read
        self._began_s = time.thread_time()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._data.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        wanted = max(0, self._data.size - self._position) if size is None or size < 0 else size
        if wanted > self._max_read:
            raise SourceError(
                f"{self._data.location}: a directory or header of {wanted} bytes, the limit is {self._max_read}; "
                "the archive is damaged or unsafe"
            )
        if time.thread_time() > self._began_s + MAX_LISTING_S:
            raise SourceError(
                f"{self._data.location}: not listed after {MAX_LISTING_S} s of CPU time, up to byte {self._position}; "
                "the archive is unsafe"
            )
        data = self._data.read_at(self._position, wanted)
        self._position += len(data)
        return data


def num_records(num_bytes: int, record_bytes: int, location: str, start: int = 0) -> int:
    """How many records `num_bytes` are, from byte `start` on. Raises SourceError: not a whole number of them."""
    count, rest = divmod(num_bytes, record_bytes)
    if rest or count < 0:
        raise SourceError(
            f"{location}: {num_bytes} bytes after byte {start} are not a whole number of {record_bytes}-byte records "
            f"({rest} left over at byte {start + count * record_bytes}); the file is truncated: fetch it again"
        )
    return count


def blocks(data: RandomAccess, block_bytes: int = 1 << 22) -> Iterator[bytes]:
    """The whole content, block by block. Raises SourceError."""
    for offset in range(0, data.size, block_bytes):
        yield data.read_at(offset, block_bytes)


def _checked(size: int, location: str) -> int:
    if size > MAX_READ_BYTES:
        raise SourceError(
            f"{location}: a piece of {size} bytes would have to be held in memory; the limit is {MAX_READ_BYTES}: "
            "the file is damaged or is not what it is named"
        )
    return size
