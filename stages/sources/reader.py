"""What the readers share: the facts of a published data set, reopening in worker processes, samples that are files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...cache.errors import SourceError
from .base import Recording, Sample, UInt8Array
from .layout import Place, describe_children
from .random_access import RandomAccess
from .tree import FileTree


class Reader(ABC):
    """A raw data set at `path`, opened: its samples are listed, nothing is decoded. Implements `base.Source`.

    A reader is pickled as its class and path and opened once in each worker process; threads may share one.
    The class attributes are facts of the published data set; `doctor` compares what is there with them.
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["events", "images"]]
    title: ClassVar[str]
    origin: ClassVar[str]  # where to get it
    licence: ClassVar[str]
    layout: ClassVar[str]  # what is expected under the path
    num_samples: ClassVar[int | None]  # None: not published
    num_classes: ClassVar[int | None]
    sensor_size: ClassVar[tuple[int, int] | None] = None  # largest (width, height), pixels

    def __init__(self, path: Path) -> None:
        self.path = path
        self._class_names, self._samples = self._index()
        for sample in self._samples:
            if type(sample.label) is not int or not 0 <= sample.label < len(self._class_names):
                raise SourceError(
                    f"{sample.location}: label {sample.label!r} of {sample.sample_id}, expected a class index from 0 "
                    f"to {len(self._class_names) - 1}; nothing was converted"
                )

    @abstractmethod
    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        """Class names in label order, and the samples ordered by label, then id. Raises SourceError."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self._class_names

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample, ordered by label, then by id."""
        return self._samples

    @abstractmethod
    def read_bytes(self, sample: Sample) -> bytes:
        """The sample's file as it lies on disk. Raises SourceError when it cannot be read."""

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """What `decode` takes: the whole file, or access to one that may be too large to be held."""
        return self.read_bytes(sample)

    @abstractmethod
    def decode(self, sample: Sample, data: Any) -> Recording | UInt8Array:
        """The recording, or the image as (H, W, 3) uint8 RGB. Raises SourceError."""

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """Further facts kept with the sample; {} where there are none."""
        return {}

    def wrong_layout(self, found: Place) -> SourceError:
        """The error for a path that holds something else."""
        return SourceError(
            f"{self.path}: expected {self.layout}; found {describe_children(found)}. "
            f"Give the path of {self.title}, or get it: {self.origin}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self.path.stat().st_mtime_ns, *self._arguments())

    def _arguments(self) -> tuple[Any, ...]:
        """What the class was called with."""
        return (self.path,)


@lru_cache(maxsize=8)
def _reopen(reader: type[Reader], modified_ns: int, *arguments: Any) -> Reader:
    """One opening of a source for each worker process; `modified_ns` tells a replaced archive from the one before."""
    return reader(*arguments)


class FileReader(Reader):
    """A reader whose samples are files of a folder or archive."""

    def __init__(self, path: Path) -> None:
        self._files: dict[str, tuple[FileTree, str]] = {}
        super().__init__(path)

    def read_bytes(self, sample: Sample) -> bytes:
        tree, name = self._files[sample.sample_id]
        return tree.read(name)

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """The whole file; of a recording that is too large to be held, access to it."""
        tree, name = self._files[sample.sample_id]
        return tree.content(name) if self.kind == "events" else tree.read(name)

    def _add(self, class_name: str, stem: str, label: int, place: Place, file: str) -> Sample:
        """Register the file of a sample. Raises SourceError when its id is taken."""
        sample = Sample(f"{class_name}/{stem}", label, place.where(file))
        if sample.sample_id in self._files:
            tree, other = self._files[sample.sample_id]
            raise SourceError(
                f"{sample.location}: has the same id, {sample.sample_id}, as {tree.where(other)}; remove one of them"
            )
        self._files[sample.sample_id] = (place.tree, place.join(file))
        return sample

    def _add_class(self, class_name: str, label: int, place: Place, files: Iterable[str]) -> list[Sample]:
        """Register the files of a class, each under its stem. Raises SourceError when there are none."""
        samples = [self._add(class_name, file.rpartition(".")[0], label, place, file) for file in files]
        if not samples:
            raise SourceError(
                f"{place}: holds no sample of class {class_name} (found {describe_children(place)}); "
                "fetch the class again, or remove its folder here and in the data set it is paired with"
            )
        return sorted(samples, key=lambda sample: sample.sample_id)
