"""Where the samples of a data set lie: in a folder, in an archive, or in an archive inside another.

A read-only tree of files is the same for a folder on disk and for an archive, so that a reader is written once. A data
set of class folders is found by the name that its folder has in the published layout: whoever has the folder itself,
its parent, the published archive, or a folder that holds the archive can give any of them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.documents import name_some
from ...cache.errors import SourceError
from .archives import Member, list_members
from .random_access import MAX_READ_BYTES, FileBytes, RandomAccess, blocks, read_file

_MAX_DEPTH = 4  # an archive in a folder in an archive in a folder


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

    def content(self, name: str) -> bytes | RandomAccess:
        """The file's content, held where it has at most `MAX_READ_BYTES`. Raises SourceError when it cannot be read."""
        content = self.open(name)
        return content if content.size > MAX_READ_BYTES else content.read_at(0, content.size)

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
        self._prefix = str(path / "_")[:-1]  # paths are made for each file, and `Path` takes its time

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
        return self._prefix + name if name else self.location

    def open(self, name: str) -> RandomAccess:
        return FileBytes(self._path / name)

    def content(self, name: str) -> bytes | RandomAccess:
        content = read_file(self.where(name))
        return self.open(name) if content is None else content


class ArchiveTree(FileTree):
    """The files of an archive. Raises SourceError at once when any member is unsafe (see `archives`)."""

    def __init__(self, data: RandomAccess) -> None:
        self.location = data.location
        self._members = {member.name: member for member in list_members(data)}
        self._folders: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in self._members:
            folder, _, file = name.rpartition("/")
            known = folder in self._folders
            self._folders.setdefault(folder, (set(), set()))[1].add(file)
            while not known:
                folder, _, below = folder.rpartition("/")
                known = folder in self._folders
                self._folders.setdefault(folder, (set(), set()))[0].add(below)

    @property
    def members(self) -> tuple[Member, ...]:
        """Every regular file of the archive."""
        return tuple(self._members.values())

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._folders.get(folder, ((), ()))
        return sorted(folders), sorted(files)

    def files_below(self, folder: str) -> Iterator[str]:
        return (name for name in self._members if not folder or name.startswith(f"{folder}/"))

    def exists(self, name: str) -> bool:
        return name in self._members

    def where(self, name: str) -> str:
        return f"{self.location}!{name}" if name else self.location

    def open(self, name: str) -> RandomAccess:
        if name not in self._members:
            raise SourceError(f"{self.location}: has no member {name}; the archive changed since it was opened")
        return self._members[name].open()

    def content(self, name: str) -> bytes | RandomAccess:
        content = super().content(name)
        pieces = [content] if isinstance(content, bytes) else blocks(content)
        for _ in self._members[name].checked(pieces, self.where(name)):
            pass
        return content


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a tree ("" is the tree's root)."""

    tree: FileTree
    folder: str

    def join(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name

    def child(self, name: str) -> Place:
        return Place(self.tree, self.join(name))

    @property
    def parent(self) -> Place:
        return Place(self.tree, self.folder.rpartition("/")[0])

    def exists(self, name: str) -> bool:
        """Whether there is a file `name` here."""
        return self.tree.exists(self.join(name))

    def where(self, name: str) -> str:
        """The full name of the file `name` here, for messages."""
        return self.tree.where(self.join(name))

    def read(self, name: str) -> bytes:
        """The content of the file `name` here. Raises SourceError."""
        return self.tree.read(self.join(name))

    def archive(self, name: str) -> Place:
        """The root of the archive `name` that lies here, opened in place."""
        return Place(ArchiveTree(self.tree.open(self.join(name))), "")

    def children(self) -> tuple[list[str], list[str]]:
        """Names of folders and files here, without hidden ones and what operating systems add."""
        folders, files = self.tree.children(self.folder)
        return [name for name in folders if not is_clutter(name)], [name for name in files if not is_clutter(name)]

    def files_below(self) -> Iterator[str]:
        """The path of every file here and in the folders here, relative to here."""
        return (name[len(self.folder) :].lstrip("/") for name in self.tree.files_below(self.folder))

    def __str__(self) -> str:
        return self.tree.where(self.folder)


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or an operating system's own."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def open_place(path: Path) -> Place:
    """The root of the folder or archive at `path`. Raises SourceError when nothing is there."""
    if path.is_dir():
        return Place(FolderTree(path), "")
    if not path.exists():
        raise SourceError(
            f"{path}: does not exist; expected a data set's folder or its published archive "
            "(`dvs-transfer download` fetches some)"
        )
    return Place(ArchiveTree(FileBytes(path)), "")


def find_folder(start: Place, folder: str, archives: Sequence[str] = ()) -> list[Place]:
    """The way to the folder named `folder`: the places passed through, it last; [] where there is none.

    Looks here, then in the first of `archives` that lies here, then in the only folder that lies here.
    """
    places = [start]
    for _ in range(_MAX_DEPTH):
        here = places[-1]
        folders, files = here.children()
        inside = [name for name in archives if name in files]
        if folder in folders:
            return [*places, here.child(folder)]
        if inside:
            places.append(here.archive(inside[0]))
        elif len(folders) == 1:
            places.append(here.child(folders[0]))
        else:
            break
    return []


def describe_children(place: Place, limit: int = 5) -> str:
    """What lies in a place, for messages: "a/, b/, c.txt and 7 more"."""
    folders, files = place.children()
    return name_some([*(f"{name}/" for name in folders), *files], limit) or "nothing"
