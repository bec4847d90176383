"""A read-only tree of files, the same for a folder on disk and for an archive, so that a reader is written once."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from ...cache.errors import SourceError
from .random_access import MAX_READ_BYTES, FileBytes, RandomAccess


class FileTree(ABC):
    """Files by their path, relative to the root and with "/" between parts; "" is the root.

    location: the root, as messages name it.
    """

    location: str

    @abstractmethod
    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in `folder`, in code point order; both empty if it is not there."""

    @abstractmethod
    def files_below(self, folder: str) -> Iterator[str]:
        """The path of every file in `folder` and below it, in no order; nothing of folders that cannot be listed."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""

    @abstractmethod
    def where(self, name: str) -> str:
        """The full name of a file or folder, for messages."""

    @abstractmethod
    def open(self, name: str) -> RandomAccess:
        """The file's content, to be read in pieces. Raises SourceError when it cannot be opened."""

    @abstractmethod
    def content(self, name: str) -> bytes | RandomAccess:
        """The file's content, held where it has at most `MAX_READ_BYTES`. Raises SourceError when it cannot be read."""

    def read(self, name: str) -> bytes:
        """The file's content. Raises SourceError when it cannot be read, or has more than `MAX_READ_BYTES`."""
        content = self.content(name)
        if not isinstance(content, bytes):
            raise SourceError(f"{self.where(name)}: {content.size} bytes; the limit for it is {MAX_READ_BYTES}")
        return content


class FolderTree(FileTree):
    """The files of a folder on disk."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = [], []
        try:
            with os.scandir(self._path / folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files.append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            raise SourceError(f"{self.where(folder)}: cannot be listed: {error.strerror}") from error
        return sorted(folders), sorted(files)

    def files_below(self, folder: str) -> Iterator[str]:
        seen = set()  # a link may lead back to a folder above it
        for path, folders, files in os.walk(self._path / folder, followlinks=True):
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below = Path(path).relative_to(self._path).as_posix()
            yield from (file if below == "." else f"{below}/{file}" for file in files)

    def exists(self, name: str) -> bool:
        return (self._path / name).is_file()

    def where(self, name: str) -> str:
        return str(self._path / name)

    def open(self, name: str) -> RandomAccess:
        return FileBytes(self._path / name)

    def content(self, name: str) -> bytes | RandomAccess:
        path = self._path / name
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size <= MAX_READ_BYTES:
                    return file.read()
        except OSError as error:
            raise SourceError(
                f"{path}: cannot be read: {error.strerror}; see whether it is there and readable"
            ) from error
        return FileBytes(path)
