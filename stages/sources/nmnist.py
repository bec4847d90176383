"""N-MNIST: MNIST's digits on a monitor, recorded by a moving ATIS camera (Orchard et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from .atis import open_records
from .base import AtisRecords, EventStream, Sample
from .layout import Place, find_folder, open_place
from .random_access import RandomAccess
from .reader import FileReader

# Folder of a split, and what MNIST calls it: recording 00042.bin of Train is of the 42nd digit of MNIST's "train".
_SPLITS = {"Train": "train", "Test": "t10k"}


class NMnist(FileReader):
    """Recordings of 34 x 34 pixels and 300 ms. Ids are those of the recorded digit: "<digit>/train-00042"."""

    name = "nmnist"
    kind = "events"
    title = "N-MNIST"
    origin = "https://data.mendeley.com/datasets/468j46mzdv (`dvs-transfer download nmnist`)"
    licence = "CC BY-SA 4.0"
    layout = "Train/<digit>/<number>.bin, Test/<digit>/<number>.bin or both, or the archives Train.zip, Test.zip"
    num_samples = 70_000
    num_classes = 10
    sensor_size: ClassVar[tuple[int, int]] = (34, 34)

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        start = open_place(self.path)
        splits = self._splits = list(self._find_splits(start))
        digits = tuple(str(digit) for digit in range(10))
        samples: list[Sample] = []
        for label, digit in enumerate(digits):
            of_digit: list[Sample] = []
            for split, place in splits:
                for file in place.child(digit).children()[1]:
                    if file.endswith(".bin"):
                        stem = f"{split}-{file.removesuffix('.bin')}"
                        of_digit.append(self._add(digit, stem, label, place.child(digit), file))
            samples += sorted(of_digit, key=lambda sample: sample.sample_id)
        if not samples:
            raise self.wrong_layout(start)
        return digits, tuple(samples)

    def _searched_places(self) -> Iterable[Place]:
        return (place for _, place in self._splits)

    def _find_splits(self, start: Place) -> Iterator[tuple[str, Place]]:
        for folder, split in _SPLITS.items():
            if self.path.name == folder and self.path.is_dir():
                yield split, start
            elif way := find_folder(start, folder, (f"{folder}.zip",)):
                yield split, way[-1]

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> AtisRecords | EventStream:
        return open_records(data, self.sensor_size, sample.location)
