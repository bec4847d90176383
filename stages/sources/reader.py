"""Readers of raw data sets: an `EventReader` or an `ImageReader` lists samples, reads their bytes and decodes them.

The least that a new one needs: a name, the endings of its files, and `decode`. Where samples are not
`<class>/<name><ending>`, in a folder or archive, maybe below folders of parts (`train/<class>/<name><ending>`), it
overrides `list_samples`. Reading is in two steps, so that one read
serves the digest and the decoding. Another package's reader is named `package.module:Reader` (docs/plugins.md).
"""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from ...cache.digests import blocks_digest, fingerprint
from ...cache.errors import SourceError
from .base import Recording, Sample, UInt8Array
from .images import decode_image
from .openings import reopen
from .random_access import RandomAccess, blocks
from .strokes import Strokes
from .tree import FileTree, FolderTree, Place, describe_children, find_folder, is_clutter, open_place

NUM_EXAMPLES: Final = 5
PARTS: Final = ("train", "validation", "test")
_PART_FOLDERS: Final = {name: name for name in PARTS} | {"val": "validation", "valid": "validation"}
_PART_PREFIX: Final = "n-cars_"  # of N-CARS
_NOTES: Final = re.compile(r"(?i)(readme|licen[cs]e)\b")
_YOUR_OWN: Final = "your own"
_SIMULATED: Final = ["Caltech101", "Caltech101_annotations"]  # the simulator's recordings, and what lies beside them
_LEVELS: Final = 8  # of folders above the class folders, as `zip -r` of a long path keeps them

Listing = tuple[tuple[str, ...], list[Sample]]


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
    """A raw data set at `path`, opened: its samples are listed, nothing is decoded.

    class_names: in label order.  samples: ordered by label, then by id.
    A reader is pickled as its class and path and opened once in each worker process; threads may share one. Another
    reader of the same path is opened there anew, for the files may be others by then (see `openings`).
    The class attributes are facts of the published data set; `doctor` compares what is there with them.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"  # raised when the same files come to other samples or content: stores are made again
    kind: ClassVar[Literal["events", "images"]]
    title: ClassVar[str] = "Your own data"
    origin: ClassVar[str] = _YOUR_OWN  # where to get it
    licence: ClassVar[str] = _YOUR_OWN
    layout: ClassVar[str] = "<class>/<name>"  # what is expected under the path
    num_samples: ClassVar[int | None] = None  # None: not published
    num_classes: ClassVar[int | None] = None
    sensor_size: ClassVar[tuple[int, int] | None] = None  # largest (width, height), pixels
    folder: ClassVar[str] = ""  # the published name of the folder that holds the class folders; "": any will do
    archives: ClassVar[tuple[str, ...]] = ()  # published archives on the way to it
    suffixes: ClassVar[tuple[str, ...]] = ("",)  # of a sample's file, lower case
    ignored_classes: ClassVar[frozenset[str]] = frozenset()  # folders of classes that the source leaves out
    access: ClassVar[Literal["bytes", "large", "file"]] = "bytes"
    """What `decode` gets: the file's bytes; of one too large to be held, access to it; always access."""
    remarks: Sequence[str] = ()  # what a conversion should tell of how the samples were found

    def __init_subclass__(cls) -> None:
        cls.name = cls.__dict__.get("name", cls.__name__)
        endings: Any = cls.suffixes
        cls.suffixes = tuple(ending.lower() for ending in ([endings] if isinstance(endings, str) else endings))

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = secrets.token_hex(8)
        self.searched: tuple[Place, ...] = ()  # in which, and below which, every file should be a sample
        self._files: dict[str, tuple[FileTree, str]] = {}
        self.class_names, samples = self.list_samples()
        for sample in samples:
            if type(sample.label) is not int or not 0 <= sample.label < len(self.class_names):
                raise SourceError(
                    f"{sample.location}: label {sample.label!r} of {sample.sample_id}, expected a class index from 0 "
                    f"to {len(self.class_names) - 1}; nothing was converted"
                )
        if not samples:
            raise self.wrong_layout(self.searched[0] if self.searched else open_place(self.path))
        self.samples = tuple(sorted(samples, key=lambda sample: (sample.label, sample.sample_id)))

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> Self:
        """A reader of files that lie anywhere, their samples without a class: for `read_content` and `decode` alone."""
        reader = cls.__new__(cls)  # looks for no folders
        reader._files = {str(file): (FolderTree(file.parent), file.name) for file in files}
        reader.class_names, reader.samples = (), tuple(Sample(str(file), -1, str(file)) for file in files)
        return reader

    def list_samples(self) -> Listing:
        """Class names in label order, and every sample; sets `searched`. Raises SourceError.

        As it stands, the class names are those of the folders, in code point order, without `ignored_classes`; of
        folders of parts those of all parts together.
        """
        place = self.find_classes()
        found = [(part, below, below.children()[0]) for part, below in self._parts_of(place) or [("", place)]]
        class_names = tuple(sorted({name for *_, names in found for name in names} - self.ignored_classes))
        samples: list[Sample] = []
        for label, class_name in enumerate(class_names):
            for part, below, names in found:
                if class_name in names:
                    at = (class_name, label, below.child(class_name))
                    samples += self.add_class(*at, part) if part else self.add_class(*at)  # one's own may have no parts
        return class_names, samples

    def find_classes(self) -> Place:
        """The folder of the class folders: the one that is called `folder`, or the path itself.

        `places` are those on the way to it, itself last.

        Without a name it is the first on the way down whose folders lie side by side; these may also be parts
        (`_parts_of`), with the class folders in each. Raises SourceError.
        """
        start = open_place(self.path)
        self.places = (find_folder(start, self.folder, self.archives) or [start]) if self.folder else places_down(start)
        place = self.places[-1]
        is_named = self.folder and len(self.places) > 1
        above = [below for _, below in self._parts_of(place)] or [place]
        if not is_named and not any(self._files_of(at.child(name)) for at in above for name in at.children()[0]):
            raise self.wrong_layout(place)
        self.searched = (place if self.folder else self.places[0],)  # files on the way down were left, too
        return place

    def _parts_of(self, place: Place) -> list[tuple[str, Place]]:
        """The parts that the folders of a place are, where all are named so and hold folders; else none."""
        if self.folder:
            return []
        names = place.children()[0]
        parts = [_PART_FOLDERS.get(name.casefold().removeprefix(_PART_PREFIX), "") for name in names]
        found = [(part, place.child(name)) for part, name in zip(parts, names, strict=True)]
        return found if all(part and below.children()[0] for part, below in found) else []

    def _files_of(self, place: Place) -> list[str]:
        return [name for name in place.children()[1] if name.lower().endswith(self.suffixes)]

    def add_class(self, class_name: str, label: int, place: Place, part: str = "") -> list[Sample]:
        """The files of a class, or of a part of it, each under its stem. Raises SourceError when there are none."""
        files = self._files_of(place)
        if not files:
            raise SourceError(
                f"{place}: holds no sample of class {class_name} (found {describe_children(place)}); "
                "fetch the class again, or remove its folder here and in the data set it is paired with"
            )
        stems = {file: _stem(file) for file in files}
        prefix = f"{part}/" if part else ""
        return [self.add_file(class_name, f"{prefix}{stem}", label, place, file) for file, stem in stems.items()]

    def add_file(self, class_name: str, stem: str, label: int, place: Place, file: str) -> Sample:
        """A sample that is the file `file` of a place. Raises SourceError when its id is taken."""
        sample = Sample(f"{class_name}/{stem}", label, place.where(file))
        if sample.sample_id in self._files:
            tree, other = self._files[sample.sample_id]
            raise SourceError(
                f"{sample.location}: has the same id, {sample.sample_id}, as {tree.where(other)}; remove one of them"
            )
        self._files[sample.sample_id] = (place.tree, place.join(file))
        return sample

    def read_bytes(self, sample: Sample) -> bytes:
        """The sample's file as it lies on disk, or what stands for it. Raises SourceError when it cannot be read."""
        tree, name = self._files[sample.sample_id]
        return tree.read(name)

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """What `decode` takes (see `access`)."""
        if self.access == "bytes":
            return self.read_bytes(sample)
        tree, name = self._files[sample.sample_id]
        return tree.open(name) if self.access == "file" and isinstance(tree, FolderTree) else tree.content(name)

    def digest_of(self, sample: Sample, data: bytes | RandomAccess) -> str:
        """The digest of `read_content`. Raises SourceError."""
        return blocks_digest([data] if isinstance(data, bytes) else blocks(data))

    @abstractmethod
    def decode(self, sample: Sample, data: Any) -> Recording | UInt8Array:
        """What the sample is of. Raises SourceError, naming `sample.location`."""

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """Further facts kept with the sample, JSON-able; {} where there are none."""
        return {}

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        """The part that the makers of the data put the sample in: "train", "validation", "test"; "" where in none.

        As it stands that is what an id of three parts has in its middle: `<class>/<part>/<stem>`.
        """
        class_name, _, rest = sample_id.partition("/")
        part, has_stem, _ = rest.partition("/")
        return part if class_name and has_stem and part in PARTS else ""

    @classmethod
    def group_of(cls, sample_id: str) -> str:
        """What the sample was cut out of: samples of one group stay on one side of a split. As it stands, itself."""
        return sample_id

    def ignored_files(self) -> IgnoredFiles:
        """The files in the folders that were searched for samples, and are none."""
        unexpected: list[str] = []
        num_left_out = num_harmless = 0
        for place in self.searched:
            for name in place.files_below():
                *folders, file = parts = name.split("/")
                if self.is_used(place, name):
                    continue
                if any(map(is_clutter, parts)) or _NOTES.match(file):
                    num_harmless += 1
                elif folders and folders[0] in self.ignored_classes:
                    num_left_out += 1
                else:
                    unexpected.append(place.where(name))
        return IgnoredFiles(len(unexpected), tuple(sorted(unexpected)[:NUM_EXAMPLES]), num_left_out, num_harmless)

    def is_used(self, place: Place, name: str) -> bool:
        """Whether the file `name` of a searched place is read."""
        return place.join(name) in self._used_files[place.tree.location]

    @cached_property
    def _used_files(self) -> Mapping[str, set[str]]:
        used: dict[str, set[str]] = defaultdict(set)
        for tree, name in self._files.values():
            used[tree.location].add(name)
        return used

    def wrong_layout(self, found: Place) -> SourceError:
        """The error for a path that holds something else."""
        way_out = f". Give the path of {self.title}, or get it: {self.origin}"
        if self.origin == _YOUR_OWN:
            endings = ", ".join(filter(None, self.suffixes))
            way_out = (
                f", and no file directly in a folder there{endings and f' whose name ends in {endings}'}. Put "
                "the files of a class into its folder, without folders of their own"
            )
        return SourceError(f"{self.path}: expected {self.layout}; found {describe_children(found)}{way_out}")

    @cached_property
    def listing_digest(self) -> str:
        """Of class names, ids and labels: what `require_listing` compares."""
        ids, labels = ([getattr(sample, name) for sample in self.samples] for name in ("sample_id", "label"))
        return fingerprint([self.class_names, ids, labels])

    def require_listing(self, digest: str) -> None:
        """Raises SourceError when the reader that this one was pickled as, of that digest, listed other samples."""
        if self.listing_digest != digest:
            raise SourceError(
                f"{self.path}: a worker lists other samples here than the command did when it began; the raw data "
                "changed meanwhile, or the worker's machine has others: when nothing writes there any more, run the "
                "same command again"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return self.pickled_as(self._token, self.path.stat().st_mtime_ns, *self.arguments())

    @classmethod
    def pickled_as(cls, *opening: Any) -> tuple[Any, ...]:
        """What a reader of this class is pickled as."""
        return reopen, (cls, *opening)

    def arguments(self) -> Iterable[Any]:
        """What the class was called with."""
        return (self.path,)


def places_down(start: Place) -> list[Place]:
    """To the first folder that holds several, or one without folders; to the recordings of the simulator."""
    places = [start]
    for _ in range(_LEVELS):
        folders, _ = places[-1].children()
        if folders == _SIMULATED:
            return [places[-1].child(folders[0])]
        if len(folders) != 1 or not places[-1].child(folders[0]).children()[0]:
            break
        places.append(places[-1].child(folders[0]))
    return places


class EventReader(Reader):
    """A data set of event recordings."""

    kind = "events"

    @abstractmethod
    def decode(self, sample: Sample, data: Any) -> Recording:
        """The recording. `frames.checked` judges its values; raise SourceError where the file cannot be decoded."""


class ImageReader(Reader):
    """A data set of photos or pictures."""

    kind = "images"
    has_strokes: ClassVar[bool] = False  # whether it is known how its images were drawn; a store then keeps that, too

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        """The image as (H, W, 3) uint8 RGB. Raises SourceError."""
        return decode_image(data, sample.location)

    def read_strokes(self, sample: Sample) -> Strokes:
        """How the image was drawn; only with `has_strokes`, where `metadata` has a digest of it. Raises SourceError."""
        raise NotImplementedError(f"{self.name} has no strokes")


def is_ending(text: str) -> bool:
    """Whether what stands behind a name's last point is no number or version, which belong to the name."""
    return re.match(r"(?i)\d|v\d+\Z", text) is None


def _stem(file: str) -> str:
    """Without its ending, of a file with gzip's without both."""
    stem, _, ending = file.rpartition(".")
    inner, _, second = stem.rpartition(".")
    return (inner if ending.lower() == "gz" and is_ending(second) else stem) or stem or file
