"""A user's own data: a folder of class folders, of recordings in any mixture of formats, or of images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from .base import Recording, Sample, TimeUnit
from .formats.recordings import open_recording
from .random_access import RandomAccess, as_access
from .reader import EventReader, ImageReader


class Folder(EventReader):
    """Recordings in any of the formats of `formats.recordings`; every file in a class folder is a sample.

    time_unit, columns: of files whose format states none, or names none (see `formats.columns.as_events`).
    """

    name = "folder"
    version = "5"  # 2 and 5: times of EVT 3; 3: whole ones in floating point; 4: .gz, ids and members
    title = "Your own recordings"
    layout = "<class>/<name>: AEDAT, EVT, DAT, Event Stream, HDF5, NumPy, MAT, text or .bin (docs/datasets/your-own.md)"
    access = "file"

    def __init__(self, path: Path, time_unit: TimeUnit = "auto", columns: str = "auto") -> None:
        self.time_unit, self.columns = time_unit, columns
        super().__init__(path)

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Recording:
        content, suffix = as_access(data, sample.location), PurePosixPath(sample.location).suffix
        return open_recording(content, suffix, self.time_unit, columns=self.columns)

    def arguments(self) -> Iterable[Any]:
        return self.path, self.time_unit, self.columns


class ImageFolder(ImageReader):
    """Images in the formats of `images.decode_image`; every file in a class folder is a sample."""

    name = "image-folder"
    title = "Your own images"
    layout = "<class>/<name>: JPEG, PNG, GIF, BMP or WebP"
