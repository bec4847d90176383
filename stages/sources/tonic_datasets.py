"""Any data set of event recordings that the installed `tonic` reads, as the source `tonic:<its class>`.

Every class of `tonic.datasets` that can be opened by name alone, whose events have x, y, t (us) and p and whose targets
are class labels, one for each recording. tonic reads the files, this module checks what comes out. Nothing is ever
downloaded: a class that would is told that its files are there, and lists those that are.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from .base import LARGEST_SENSOR, Events, Sample
from .layout import Place
from .reader import Reader
from .tree import FolderTree

PREFIX: Final = "tonic:"
_FIELDS: Final = "xytp"
MAX_FILE_BYTES: Final = 1 << 25  # decoded and checked, a recording takes thirty times the memory of its file

Label = int | str


class TonicReader(Reader):
    """The recordings of `dataset`. Ids are "<label>/tonic-<part>-<number>", part train, test or all, numbers from 1.

    They name nobody's photo: numbers of another source's photos mean something else, and must not look the same.
    Class names are the labels as tonic gives them, in order. A class that lists files is taken in the order of their
    paths, so that ids do not depend on the order of a folder's listing; the metadata's "file" is the path.
    """

    name = f"{PREFIX}<class>"
    kind = "events"
    title = "Any event data set of tonic"
    origin = "tonic itself: tonic.datasets.<class>(save_to=FOLDER) downloads where that is possible"
    licence = "each data set's own"
    layout = "FOLDER/<class> as tonic left it, unpacked"
    dataset: ClassVar[type[Any]]

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, tuple[Any, int]] = {}
        super().__init__(path)

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        folder = self._folder = self._find_folder()
        entries = [
            (part, dataset, index, label) for part, dataset in self._open_parts() for index, label in _in_order(dataset)
        ]
        if not entries:
            raise self.wrong_layout(Place(FolderTree(folder), ""))
        labels = sorted({label for *_, label in entries}, key=lambda label: (isinstance(label, str), label))
        position = {label: number for number, label in enumerate(labels)}
        samples: list[Sample] = []
        numbers: dict[tuple[Label, str], int] = {}
        for part, dataset, index, label in entries:
            number = numbers[label, part] = numbers.get((label, part), 0) + 1
            sample_id = f"{label}/tonic-{part}-{number:05d}"
            location = _file_of(dataset, index) or f"{folder}, {part} sample {index}"
            samples.append(Sample(sample_id, position[label], location))
            self._entries[sample_id] = dataset, index
        return tuple(map(str, labels)), tuple(sorted(samples, key=lambda sample: (sample.label, sample.sample_id)))

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

    def _open_parts(self) -> Iterator[tuple[str, Any]]:
        offline = _without_download(self.dataset)
        parts: dict[str, dict[str, Any]] = {"all": {}}
        if "train" in inspect.signature(self.dataset).parameters:
            parts = {"train": {"train": True}, "test": {"train": False}}
        for part, arguments in parts.items():
            try:
                yield part, offline(save_to=str(self._folder.parent), **arguments)
            except FileNotFoundError:
                continue  # a part that is not there
            except Exception as error:  # tonic's classes raise whatever comes up
                raise SourceError(f"{self.path}: tonic cannot open its {part} part: {_describe(error)}") from error

    def read_bytes(self, sample: Sample) -> bytes:
        """x, y, t and p of the recording as tonic decodes it, each (n,) int64: what stands for its file's content."""
        dataset, index = self._entries[sample.sample_id]
        file = Path(_file_of(dataset, index))
        if file.is_file() and file.stat().st_size > MAX_FILE_BYTES:
            raise SourceError(
                f"{file}: {file.stat().st_size} bytes; tonic holds a recording as a whole and is given up to "
                f"{MAX_FILE_BYTES}: convert it as `folder` or as the data set's own source, which read in pieces"
            )
        try:
            events, target = dataset[index]
            columns = [np.asarray(events[name]).reshape(-1) for name in _FIELDS]
        except Exception as error:  # tonic's readers raise whatever comes up
            raise SourceError(f"{sample.location}: tonic cannot read it: {_describe(error)}") from error
        if str(target) != self.class_names[sample.label]:
            raise SourceError(f"{sample.location}: its target is {target!r:.80}, which is no class label")
        if any(column.dtype.kind not in "iub" for column in columns):
            found = ", ".join(f"{name} {column.dtype}" for name, column in zip(_FIELDS, columns, strict=True))
            raise SourceError(f"{sample.location}: expected whole numbers in x, y, t (us) and p, found {found}")
        content = np.empty((len(columns), len(columns[0])), np.int64)
        for row, column in zip(content, columns, strict=True):
            row[:] = column
        del events, columns  # as large as what is given back
        return content.tobytes()

    def decode(self, sample: Sample, data: bytes) -> Events:
        x, y, t, p = np.frombuffer(data, np.int64).reshape(4, -1)
        if not len(t):
            raise SourceError(f"{sample.location}: no event in it; remove the recording")
        width, height = self.sensor_size or LARGEST_SENSOR
        outside = f"outside the {width} x {height} sensor"
        _refuse(sample, "x", x, (x < 0) | (x >= width), outside)
        _refuse(sample, "y", y, (y < 0) | (y >= height), outside)
        _refuse(sample, "p", p, (p < 0) | (p > 1), "expected 0 or 1")
        _refuse(sample, "t", t, np.concatenate(([False], t[1:] < t[:-1])), "us, earlier than the event before it")
        return Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.uint8))

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """{"file": path in the data set's folder}, where the class lists files."""
        file = _file_of(*self._entries[sample.sample_id])
        return {"file": Path(file).relative_to(self._folder).as_posix()} if file else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.dataset.__name__, self.path, self.path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _reopen(class_name: str, path: Path, modified_ns: int) -> TonicReader:
    """As `reader._reopen`; the class is made for tonic's and found by name."""
    return tonic_reader(class_name)(path)


@lru_cache
def tonic_reader(class_name: str) -> type[TonicReader]:
    """The reader for a class of `tonic.datasets`. Raises SourceError: there is none, or it has other data."""
    known = _event_classes()
    if class_name not in known:
        raise SourceError(
            f"{PREFIX}{class_name}: tonic {version('tonic')} has no data set of that name; its data sets of event "
            f"recordings are {', '.join(name for name, problem in known.items() if not problem)}"
        )
    if known[class_name]:
        raise SourceError(f"{PREFIX}{class_name}: cannot be a source: {known[class_name]}")
    dataset = getattr(_tonic_datasets(), class_name)
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


def _event_classes() -> dict[str, str]:
    """Every data set of tonic, and why it is none of event recordings, or ""."""
    datasets = _tonic_datasets()
    return {name: _problem_with(getattr(datasets, name)) for name in datasets.__all__}


def _problem_with(dataset: type[Any]) -> str:
    size = getattr(dataset, "sensor_size", ())
    if size is not None and (len(size) != 3 or min(size[:2]) < 2):
        return f"its sensor size is {size or 'not known'}, not that of a camera"
    if not set(_FIELDS) <= set(getattr(dataset, "ordering", ())):
        return f"its events do not have {', '.join(_FIELDS)}"
    needed = [p.name for p in inspect.signature(dataset).parameters.values() if p.default is p.empty]
    if needed != ["save_to"]:
        return f"it opens with {', '.join(needed)}, not with a folder alone"
    return ""


def _tonic_datasets() -> Any:
    import tonic.datasets  # takes a second

    return tonic.datasets


def _without_download(dataset: type[Any]) -> type[Any]:
    """The class, under its own name, which is the folder's, but content with the files that are there."""
    return type(dataset.__name__, (dataset,), {"_check_exists": lambda self: True, "download": _refuse_download})


def _refuse_download(dataset: Any) -> None:
    raise SourceError(f"{dataset.location_on_system}: {type(dataset).__name__} wants to download; fetch it with tonic")


def _in_order(dataset: Any) -> list[tuple[int, Label]]:
    """Index and label of each recording, by path where there are paths. Raises SourceError when there are no labels."""
    targets = getattr(dataset, "targets", None)
    labels = [_as_label(target) for target in targets] if isinstance(targets, list | np.ndarray) else []
    if len(labels) != len(dataset) or None in labels:
        raise SourceError(
            f"{PREFIX}{type(dataset).__name__}: its targets are no class labels, one for each recording, so it cannot "
            "be classified"
        )
    order = sorted(range(len(dataset)), key=lambda index: _file_of(dataset, index))
    return [(index, label) for index in order if (label := labels[index]) is not None]


def _as_label(target: Any) -> Label | None:
    if isinstance(target, int | np.integer):
        return int(target)
    return target if isinstance(target, str) and "/" not in target else None


def _file_of(dataset: Any, index: int) -> str:
    """The path of a recording's file; "" where the class does not list files."""
    entry = dataset.data[index] if isinstance(getattr(dataset, "data", None), list) else None
    return str(entry) if isinstance(entry, str | Path) else ""


def _refuse(sample: Sample, name: str, values: NDArray[np.int64], wrong: NDArray[np.bool_], problem: str) -> None:
    if wrong.any():
        event = int(np.argmax(wrong))
        raise SourceError(f"{sample.location}: {name} = {values[event]} of event {event}: {problem}; fetch it again")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
