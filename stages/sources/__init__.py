"""Readers of raw data sets, by name. A new data set is a module here and a line in `_READERS`, or a plug-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from ...cache.errors import ConfigError, SourceError
from ..plugins import PluginError, find, plugin_digest
from .base import AtisRecords, Events, EventStream, Recording, Sample, TimeUnit, UInt8Array, Windows
from .caltech import Caltech101, NCaltech101
from .cepdvs import CepDvs, CepDvsImages
from .cifar import Cifar10, Cifar10Dvs
from .digits import Mnist, NMnist
from .nomniglot import NOmniglot
from .omniglot import Omniglot, OmniglotStrokes
from .own import Folder, ImageFolder
from .reader import EventReader, ImageReader, Reader
from .segments import Segments
from .tonic_datasets import PREFIX as TONIC_PREFIX
from .tonic_datasets import TonicReader, tonic_reader

_READERS: Final[tuple[type[Reader], ...]] = (
    *(NCaltech101, Caltech101, CepDvs, CepDvsImages, NMnist, Mnist, Cifar10Dvs, Cifar10, NOmniglot, Omniglot),
    *(OmniglotStrokes, Folder, Segments, ImageFolder),
)
SOURCES: Final[Mapping[str, type[Reader]]] = MappingProxyType({reader.name: reader for reader in _READERS})
"""Every reader by its name. Its class attributes are the facts of the published data set (see `reader.Reader`)."""


def find_source(name: str, kind: Literal["events", "images"] | None = None) -> type[Reader]:
    """The reader called `name`, "tonic:<class>", or a plug-in (see `plugins.find`); with `kind`, one of that kind.

    Raises SourceError, naming those there are.
    """
    problem = f"no source of {kind} is called {name!r}" if kind else f"{name}: no such source"
    known = {known: reader for known, reader in SOURCES.items() if kind in (None, reader.kind)}
    if name.startswith(TONIC_PREFIX):
        if kind == "images":
            raise SourceError(f"{problem}; there are {', '.join(known)}")
        return tonic_reader(name.removeprefix(TONIC_PREFIX))
    try:
        reader = find("sources", name, known | ({} if kind == "images" else {TonicReader.name: TonicReader}))
        digest = plugin_digest("sources", name, SOURCES)
    except PluginError as error:
        raise SourceError(f"{problem}: {error}") from error
    if not (isinstance(reader, type) and issubclass(reader, EventReader | ImageReader)):
        raise SourceError(f"{name}: expected a subclass of EventReader or ImageReader, found {reader!r}")
    if missing := sorted(reader.__abstractmethods__):
        raise SourceError(f"{name}: does not define {', '.join(missing)}, which a reader of {reader.kind} needs")
    if kind not in (None, reader.kind):
        raise SourceError(f"{problem}: it is one of {reader.kind}")
    if digest is not None:
        reader.version = digest
    return reader


def rules_of(name: str) -> type[Reader]:
    """The reader that knows parts and groups of a source's ids; as `find_source`, without opening tonic."""
    return TonicReader if name.startswith(TONIC_PREFIX) else SOURCES.get(name) or find_source(name)


def sources_with_parts() -> tuple[str, ...]:
    """The sources of recordings whose makers give a part of each, beside class folders below folders of parts."""
    readers: dict[str, type[Reader]] = {**SOURCES, TonicReader.name: TonicReader}
    return tuple(name for name, reader in readers.items() if reader.kind == "events" and "part_of" in vars(reader))


def open_source(
    name: str, path: Path, time_unit: TimeUnit = "auto", columns: str = "auto", windows: Windows | None = None
) -> Reader:
    """Open the raw data set `name` at `path`, a folder or an archive, and list its samples.

    time_unit, columns: of the times and columns in a user's own recordings, where their format does not say it.
    windows: into which the source `segments` cuts.

    Raises SourceError for an unknown name, and when the path does not hold that data set whole; ConfigError for
    one of the three where the source does not take it.
    """
    reader = find_source(name)
    if issubclass(reader, Segments):
        return reader(Path(path), time_unit, columns, windows)
    if windows is not None:
        raise ConfigError(f"frames.windows: is for the source {Segments.name}; {name} is not cut, leave it out")
    if issubclass(reader, Folder):
        return reader(Path(path), time_unit, columns)
    for key, value, own in (("time_unit", time_unit, "unit"), ("columns", columns, "columns")):
        if value != "auto":
            raise ConfigError(
                f"{key} = {value}: is for the source {Folder.name}; {name} states its {own}, leave it out"
            )
    return reader(Path(path))


def open_files(name: str, files: Sequence[Path], time_unit: TimeUnit = "auto", columns: str = "auto") -> Reader:
    """A reader of recordings that lie anywhere and have no class, each read as a file of the source `name`.

    Raises SourceError for a source of another name or kind, and for one whose recordings are no files of their own.
    """
    reader = find_source(name, "events")
    if reader.read_bytes is not Reader.read_bytes:
        raise SourceError(
            f"{name}: its recordings are no files of their own, so a file cannot be read as one of it; with the source "
            f"{Folder.name} a file is read as what its content is, if it holds one recording, cut as {name}'s are"
        )
    opened = reader.of_files(files)
    if isinstance(opened, Folder):
        opened.time_unit, opened.columns = time_unit, columns
    return opened


__all__ = [
    "SOURCES",
    "AtisRecords",
    "EventReader",
    "EventStream",
    "Events",
    "ImageReader",
    "Reader",
    "Recording",
    "Sample",
    "TonicReader",
    "UInt8Array",
    "find_source",
    "open_files",
    "open_source",
    "rules_of",
    "sources_with_parts",
]
