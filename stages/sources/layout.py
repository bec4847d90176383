"""Where the samples of a data set lie: in a folder, in an archive, or in an archive inside another.

A data set of class folders is found by the name that its folder has in the published layout. Whoever has the folder
itself, its parent, the published archive, or a folder that holds the archive can give any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.errors import SourceError
from .archives import open_archive
from .random_access import FileBytes
from .tree import FileTree, FolderTree

_MAX_DEPTH = 4  # an archive in a folder in an archive in a folder


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
        return Place(open_archive(self.tree.open(self.join(name))), "")

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
        raise SourceError(f"{path}: does not exist; expected a data set's folder or its published archive")
    return Place(open_archive(FileBytes(path)), "")


def find_folder(start: Place, folder: str, archives: Sequence[str] = ()) -> list[Place]:
    """The way to the folder named `folder`: the places passed through, it last; [] where there is none.

    Looks here, then in the first of `archives` that lies here, then in the only folder that lies here.
    """
    way = [start]
    for _ in range(_MAX_DEPTH):
        here = way[-1]
        folders, files = here.children()
        inside = [name for name in archives if name in files]
        if folder in folders:
            return [*way, here.child(folder)]
        if inside:
            way.append(here.archive(inside[0]))
        elif len(folders) == 1:
            way.append(here.child(folders[0]))
        else:
            break
    return []


def describe_children(place: Place, limit: int = 5) -> str:
    """What lies in a place, for messages: "a/, b/, c.txt and 7 more"."""
    folders, files = place.children()
    names = [f"{name}/" for name in folders] + files
    shown = ", ".join(names[:limit]) or "nothing"
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
