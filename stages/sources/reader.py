"""What the readers share: the facts of a published data set, reopening in worker processes, samples that are files."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from ...cache.errors import SourceError
from .base import Recording, Sample, UInt8Array
from .layout import Place, describe_children, is_clutter
from .random_access import RandomAccess
from .tree import FileTree, FolderTree

NUM_EXAMPLES: Final = 5
_NOTES: Final = re.compile(r"(?i)(readme|licen[cs]e)\b")


@dataclass(frozen=True)
class IgnoredFiles:
    """Files in a data set's folders that are no samples and were not read, by what is known of them.

    num_unexpected: nothing; `examples` are the first of them.  num_left_out: of classes that the source leaves out.
    num_harmless: hidden, an operating system's own, or a data set's notes on itself (README, licence).
    """

    num_unexpected: int = 0
    examples: tuple[str, ...] = ()
    num_left_out: int = 0
    num_harmless: int = 0


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
    ignored_classes: ClassVar[frozenset[str]] = frozenset()  # folders of classes that the source leaves out
    version: ClassVar[str] = "1"  # raised when the same files come to other samples or content: stores are made again

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

    def ignored_files(self) -> IgnoredFiles:
        """The files in the folders that were searched for samples, and are none."""
        unexpected: list[str] = []
        num_left_out = num_harmless = 0
        for place in self._searched_places():
            for name in place.files_below():
                if self._is_used(place, name):
                    continue
                *folders, file = parts = name.split("/")
                if any(map(is_clutter, parts)) or _NOTES.match(file):
                    num_harmless += 1
                elif folders and folders[0] in self.ignored_classes:
                    num_left_out += 1
                else:
                    unexpected.append(place.where(name))
        return IgnoredFiles(len(unexpected), tuple(sorted(unexpected)[:NUM_EXAMPLES]), num_left_out, num_harmless)

    def _searched_places(self) -> Iterable[Place]:
        """The folders in which, and below which, every file should be a sample; none where samples are no files."""
        return ()

    def _is_used(self, place: Place, name: str) -> bool:
        """Whether the file `name` of `place` is read."""
        return False

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

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> Self:
        """A reader of files that lie anywhere, their samples without a class: for `read_content` and `decode` alone."""
        reader = cls.__new__(cls)  # looks for no folders
        reader._class_names = ()
        reader._files = {str(file): (FolderTree(file.parent), file.name) for file in files}
        reader._samples = tuple(Sample(str(file), -1, str(file)) for file in files)
        return reader

    def read_bytes(self, sample: Sample) -> bytes:
        tree, name = self._files[sample.sample_id]
        return tree.read(name)

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """The whole file; of a recording that is too large to be held, access to it."""
        tree, name = self._files[sample.sample_id]
        return tree.content(name) if self.kind == "events" else tree.read(name)

    def _is_used(self, place: Place, name: str) -> bool:
        return place.join(name) in self._used_files[place.tree.location]

    @cached_property
    def _used_files(self) -> Mapping[str, set[str]]:
        used: dict[str, set[str]] = defaultdict(set)
        for tree, name in self._files.values():
            used[tree.location].add(name)
        return used

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
