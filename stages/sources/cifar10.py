"""CIFAR-10: 60,000 colour photos of 32 x 32 pixels in ten classes (Krizhevsky 2009), in its Python version.

`cifar-10-batches-py/data_batch_1` to `_5` and `test_batch` are pickled dictionaries: `data`, uint8 of shape (10,000,
3,072), a row for each photo: 1,024 values of red, then of green, then of blue, each in the order of a text; `labels`, a
list of 0 to 9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ...cache.errors import SourceError
from .base import Sample, UInt8Array
from .layout import Place, find_folder, open_place
from .python_pickle import read_pickled_dict
from .reader import Reader

CLASS_NAMES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE: Final = 32  # pixels
_VALUES: Final = 3 * SIDE * SIDE
_FOLDER: Final = "cifar-10-batches-py"
_BATCHES: Final = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}


class Cifar10(Reader):
    """Ids count from 1 in the published order, through all batches: "<class>/train-00001", "<class>/test-00001".

    The pixels stay in memory, 184 MB for the whole data set.
    """

    name = "cifar10"
    kind = "images"
    title = "CIFAR-10"
    origin = "https://www.cs.toronto.edu/~kriz/cifar.html (`dvs-transfer download cifar10`)"
    licence = "none is stated"
    layout = "cifar-10-batches-py/data_batch_1 to data_batch_5, test_batch or all, or cifar-10-python.tar.gz with them"
    num_samples = 60_000
    num_classes = 10

    def __init__(self, path: Path) -> None:
        self._pixels: dict[str, UInt8Array] = {}
        super().__init__(path)

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        start = open_place(self.path)
        way = find_folder(start, _FOLDER, ("cifar-10-python.tar.gz",))
        place = way[-1] if way else start
        samples: list[Sample] = []
        for part, names in _BATCHES.items():
            found = [name for name in names if place.exists(name)]
            if found and found != list(names):
                missing = sorted(set(names) - set(found))
                raise SourceError(f"{place}: has {found[0]}, but not {', '.join(missing)}; fetch the data set again")
            samples += self._open_part(part, place, found)
        if not samples:
            raise self.wrong_layout(start)
        return CLASS_NAMES, tuple(sorted(samples, key=lambda sample: (sample.label, sample.sample_id)))

    def _open_part(self, part: str, place: Place, names: list[str]) -> list[Sample]:
        samples: list[Sample] = []
        for name in names:
            location = place.where(name)
            pixels, labels = parse_batch(place.read(name), location)
            for row, label in enumerate(labels):
                sample_id = f"{CLASS_NAMES[label]}/{part}-{len(samples) + 1:05d}"
                samples.append(Sample(sample_id, label, f"{location}, image {row + 1}"))
                self._pixels[sample_id] = pixels[row]
        return samples

    def read_bytes(self, sample: Sample) -> bytes:
        return self._pixels[sample.sample_id].tobytes()

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        if len(data) != _VALUES:
            raise SourceError(f"{sample.location}: {len(data)} bytes, expected 3 x {SIDE} x {SIDE}")
        return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE).transpose(1, 2, 0))


def parse_batch(data: bytes, location: str) -> tuple[UInt8Array, list[int]]:
    """The pixels, (N, 3072) uint8, and the labels of a batch. Raises SourceError; executes nothing of the file."""
    batch = read_pickled_dict(data, location)
    pixels: Any = batch.get("data")
    labels: Any = batch.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _VALUES:
        raise SourceError(f"{location}: expected `data` of shape (N, {_VALUES}), found {_describe(pixels)}")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise SourceError(f"{location}: expected a list of {len(pixels)} labels, found {_describe(labels)}")
    for number, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASS_NAMES):
            raise SourceError(f"{location}: label {label!r} of image {number + 1}, expected 0 to 9; fetch it again")
    return pixels, labels


def _describe(value: Any) -> str:
    return f"the shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
