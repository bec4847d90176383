"""Readers of raw data sets, by name. A new data set is a module here and a line in `SOURCES`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ...cache.errors import SourceError
from ..frames.spec import TimeUnit
from .base import AtisRecords, Events, EventStream, Recording, Sample, Source, UInt8Array
from .caltech101 import Caltech101
from .cepdvs import CepDvs, CepDvsImages
from .mnist import Mnist
from .ncaltech101 import NCaltech101
from .nmnist import NMnist
from .own import Folder, ImageFolder
from .reader import Reader

SOURCES: Final[Mapping[str, type[Reader]]] = MappingProxyType(
    {
        reader.name: reader
        for reader in (NCaltech101, Caltech101, CepDvs, CepDvsImages, NMnist, Mnist, Folder, ImageFolder)
    }
)
"""Every reader by its name. Its class attributes are the facts of the published data set (see `reader.Reader`)."""


def open_source(name: str, path: Path, time_unit: TimeUnit = "auto") -> Reader:
    """Open the raw data set `name` at `path`, a folder or an archive, and list its samples.

    time_unit: of the times in a user's own recordings, where their format states none.

    Raises SourceError for an unknown name, and when the path does not hold that data set whole.
    """
    if name not in SOURCES:
        raise SourceError(f"{name}: no such source; there are {', '.join(SOURCES)}")
    reader = SOURCES[name]
    return reader(Path(path), time_unit) if issubclass(reader, Folder) else reader(Path(path))


__all__ = [
    "SOURCES",
    "AtisRecords",
    "EventStream",
    "Events",
    "Reader",
    "Recording",
    "Sample",
    "Source",
    "UInt8Array",
    "open_source",
]
