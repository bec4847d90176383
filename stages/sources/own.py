"""A user's own data: a folder of class folders, of recordings in any mixture of formats, or of images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ...cache.errors import SourceError
from ..frames.spec import TimeUnit
from .base import Recording, Sample, UInt8Array
from .class_folders import ClassFolderReader
from .formats.recordings import open_recording
from .images import decode_image
from .layout import Place, describe_children, open_place
from .random_access import RandomAccess, as_access
from .tree import FolderTree

SIMULATED = ("Caltech101", "Caltech101_annotations")  # the simulator's recordings, and what lies beside them
_LEVELS = 8  # of folders above the class folders, as `zip -r` of a long path keeps them


class _OwnFolder(ClassFolderReader):
    """Class folders on disk or in an archive: the first folders on the way down from the path that lie side by side.

    Any names will do. Every file directly in a class folder is a sample.
    """

    origin = "your own"
    licence = "your own"
    num_samples = None
    num_classes = None
    folder = ""
    archives = ()

    def _find_classes(self) -> Place:
        place = self._start = open_place(self.path)
        for _ in range(_LEVELS):
            folders, _ = place.children()
            if tuple(folders) == SIMULATED:
                self._start = place.child(SIMULATED[0])
                return self._start
            if len(folders) != 1 or not place.child(folders[0]).children()[0]:
                break
            place = place.child(folders[0])
        if not any(self._sample_files(place.child(name)) for name in place.children()[0]):
            raise self.wrong_layout(place)
        return place

    def wrong_layout(self, found: Place) -> SourceError:
        return SourceError(
            f"{self.path}: expected {self.layout}; found {describe_children(found)}, and no file directly in a folder "
            "there. Put the files of a class into its folder, without folders of their own"
        )

    def _searched_places(self) -> Iterable[Place]:
        return (self._start,)  # not the class folders' alone: files on the way to them were left, too


class Folder(_OwnFolder):
    """Recordings in any of the formats of `formats.identify`; every file in a class folder is a sample.

    time_unit: of files whose format states none (see `formats.columns.as_events`).
    """

    name = "folder"
    kind = "events"
    title = "Your own recordings"
    layout = "<class>/<name>: AEDAT 4, EVT 2 and 3, DAT, HDF5, NumPy, MAT, text or .bin (docs/datasets/your-own.md)"
    suffixes = ("",)

    def __init__(self, path: Path, time_unit: TimeUnit = "auto") -> None:
        self.time_unit = time_unit
        super().__init__(path)

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """As others'; of a file on disk always access to it, since another process may read it (`formats.isolated`)."""
        tree, name = self._files[sample.sample_id]
        return tree.open(name) if isinstance(tree, FolderTree) else tree.content(name)

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Recording:
        return open_recording(as_access(data, sample.location), PurePosixPath(sample.location).suffix, self.time_unit)

    def _arguments(self) -> tuple[Any, ...]:
        return self.path, self.time_unit


class ImageFolder(_OwnFolder):
    """Images in the formats of `images.decode_image`; every file in a class folder is a sample."""

    name = "image-folder"
    kind = "images"
    title = "Your own images"
    layout = "<class>/<name>: JPEG, PNG, GIF, BMP or WebP"
    suffixes = ("",)

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return decode_image(data, sample.location)
