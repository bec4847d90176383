"""Any data set of event recordings that the installed `tonic` reads, as the source `tonic:<its class>`.

Every class of `tonic.datasets` that can be opened by name alone, whose events have x, y, t (us) and p and whose targets
are class labels, one for each recording. tonic reads the files, in a process of its own (`formats.child`), and this
module checks what it is of. Nothing is ever downloaded: a class that would is told that its files are there, and lists
those that are.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from ...cache.errors import SourceError
from .base import LARGEST_SENSOR, Events, Sample
from .formats.isolated import PIECE_EVENTS, ask
from .openings import reopen
from .reader import PARTS, EventReader, Listing
from .tree import FolderTree, Place

PREFIX: Final = "tonic:"
_FIELDS: Final = "xytp"
_LARGEST: Final = np.uint64(1 << 62)  # what is beyond is no event's, and stays so
MAX_FILE_BYTES: Final = 1 << 25  # decoded, a recording takes thirty times the memory of its file
MAX_EVENTS: Final = 1 << 23  # 32 bytes each, held twice

Label = int | str


class TonicReader(EventReader):
    """The recordings of `dataset`. Ids are "<label>/tonic-<part>-<number>", part train, test or all, numbers from 1.

    They name nobody's photo: numbers of another source's photos mean something else, and must not look the same.
    Class names are the labels as tonic gives them, in order. A class that lists files is taken in the order of their
    paths, so that ids do not depend on the order of a folder's listing; the metadata's "file" is the path.
    """

    name = f"{PREFIX}<class>"
    title = "Any event data set of tonic"
    origin = "tonic itself: tonic.datasets.<class>(save_to=FOLDER) downloads where that is possible"
    licence = "each data set's own"
    layout = "FOLDER/<class> as tonic left it, unpacked"
    dataset: ClassVar[type[Any]]

    def list_samples(self) -> Listing:
        self._opened_ns = time.time_ns()
        folder = self._folder = self._find_folder()
        entries = list(self._list_parts())
        if not entries:
            raise self.wrong_layout(Place(FolderTree(folder), ""))
        labels = sorted({label for label, *_ in entries}, key=lambda label: (isinstance(label, str), label))
        self._entries: dict[str, tuple[str, int, str]] = {}  # part, number in it, file
        samples: list[Sample] = []
        counts: dict[tuple[Label, str], int] = {}
        for label, part, number, file in entries:
            count = counts[label, part] = counts.get((label, part), 0) + 1
            sample_id = f"{label}/tonic-{part}-{count:05d}"
            samples.append(Sample(sample_id, labels.index(label), file or f"{folder}, {part} sample {number}"))
            self._entries[sample_id] = part, number, file
        return tuple(map(str, labels)), samples

    def _find_folder(self) -> Path:
        """tonic looks in a folder that is named like the class: the path itself, or one in it."""
        name = self.dataset.__name__
        if not self.path.is_dir():
            raise SourceError(f"{self.path}: does not exist or is no folder; expected {self.layout}")
        if (self.path / name).is_dir():
            return self.path.absolute() / name
        if self.path.absolute().name != name:
            raise self.wrong_layout(Place(FolderTree(self.path), ""))
        return self.path.absolute()

    def _list_parts(self) -> Iterator[tuple[Label, str, int, str]]:
        """Label, part, number in the part, and file of each recording, by part and file."""
        has_parts = "train" in inspect.signature(self.dataset).parameters
        for part in ("train", "test") if has_parts else ("all",):
            request = {"reader": "tonic list", "path": str(self._folder), "part": part, "opened_ns": self._opened_ns}
            (facts,) = ask(request, f"{self._folder}, {part} part, by tonic")
            if facts["labels"] is None:
                raise SourceError(
                    f"{PREFIX}{self.dataset.__name__}: its targets are no class labels, one for each recording, so it "
                    "cannot be classified"
                )
            for number, (label, file) in enumerate(zip(facts["labels"], facts["files"], strict=True)):
                yield label, part, number, file

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        part = sample_id.rpartition("/")[2].removeprefix("tonic-").rpartition("-")[0]
        return part if part in PARTS else ""  # "all": tonic knows none

    def read_bytes(self, sample: Sample) -> bytes:
        """x, y, t and p of the recording as tonic decodes it, each (n,) int64: what stands for its file's content."""
        part, number, file = self._entries[sample.sample_id]
        if Path(file).is_file() and (size := Path(file).stat().st_size) > MAX_FILE_BYTES:
            raise _too_large(sample, f"{size} bytes", f"{MAX_FILE_BYTES}")
        request = {
            "reader": "tonic",
            "path": file or str(self._folder),
            "folder": str(self._folder),
            "part": part,
            "opened_ns": self._opened_ns,
            "number": number,
            "num_events": PIECE_EVENTS,
        }
        with closing(ask(request, sample.location)) as answer:
            facts = next(answer)
            if facts["file"] != file:
                raise SourceError(f"{sample.location}: its folder changed while it was read; run the command again")
            if facts["target"] != self.class_names[sample.label]:
                raise SourceError(f"{sample.location}: its target is {facts['target']:.80}, which is no class label")
            if facts["num_events"] > MAX_EVENTS:
                raise _too_large(sample, f"{facts['num_events']} events", f"{MAX_EVENTS}")
            content = np.empty((len(_FIELDS), facts["num_events"]), np.int64)
            start = 0
            for piece in answer:
                end = start + len(piece["t"])
                for row, (name, values) in zip(content, piece.items(), strict=True):
                    if values.dtype.kind not in "iub":
                        raise SourceError(
                            f"{sample.location}: expected whole numbers in x, y, t (us) and p, found {name} of type "
                            f"{values.dtype}"
                        )
                    row[start:end] = np.minimum(values, _LARGEST) if values.dtype == np.uint64 else values
                start = end
            return content.tobytes()

    def decode(self, sample: Sample, data: bytes) -> Events:
        return Events(*np.frombuffer(data, np.int64).reshape(len(_FIELDS), -1))

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """{"file": path in the data set's folder}, where the class lists files."""
        *_, file = self._entries[sample.sample_id]
        return {"file": Path(file).relative_to(self._folder).as_posix()} if file else {}

    @classmethod
    def pickled_as(cls, *opening: Any) -> tuple[Any, ...]:
        return _reopen, (cls.dataset.__name__, *opening)


def _reopen(class_name: str, *opening: Any) -> Any:
    """As `openings.reopen`; the class is made for tonic's and found by name."""
    return reopen(tonic_reader(class_name), *opening)


@lru_cache
def tonic_reader(class_name: str) -> type[TonicReader]:
    """The reader for a class of `tonic.datasets`. Raises SourceError: there is none, or it has other data."""
    import tonic.datasets  # takes a second

    if class_name not in tonic.datasets.__all__:
        names = [name for name in tonic.datasets.__all__ if not _problem_with(getattr(tonic.datasets, name))]
        raise SourceError(
            f"{PREFIX}{class_name}: tonic {version('tonic')} has no data set of that name; its data sets of event "
            f"recordings are {', '.join(names)}"
        )
    dataset = getattr(tonic.datasets, class_name)
    if problem := _problem_with(dataset):
        raise SourceError(f"{PREFIX}{class_name}: cannot be a source: {problem}")
    size = dataset.sensor_size
    facts = {
        "name": f"tonic-{class_name}",  # also of files, which had better not hold a colon
        "title": f"tonic's {class_name}",
        "origin": f"run python -c \"import tonic; tonic.datasets.{class_name}(save_to='FOLDER')\"",
        "layout": f"FOLDER or FOLDER/{class_name} as tonic left it, unpacked",
        "sensor_size": LARGEST_SENSOR if size is None else (int(size[0]), int(size[1])),
        "dataset": dataset,
    }
    return type(f"Tonic{class_name}", (TonicReader,), facts)


def _problem_with(dataset: type[Any]) -> str:
    """Why a data set of tonic is none of event recordings, or ""."""
    size = getattr(dataset, "sensor_size", ())
    if size is not None and (len(size) != 3 or min(size[:2]) < 2):
        return f"its sensor size is {size or 'not known'}, not that of a camera"
    if not set(_FIELDS) <= set(getattr(dataset, "ordering", ())):
        return f"its events do not have {', '.join(_FIELDS)}"
    needed = [p.name for p in inspect.signature(dataset).parameters.values() if p.default is p.empty]
    return "" if needed == ["save_to"] else f"it opens with {', '.join(needed)}, not with a folder alone"


def _too_large(sample: Sample, found: str, limit: str) -> SourceError:
    return SourceError(
        f"{sample.location}: {found}; tonic holds a recording as a whole and is given up to {limit}: convert it as "
        "`folder` or as the data set's own source, which read in pieces"
    )
