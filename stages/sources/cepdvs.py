"""CEP-DVS: 10,000 pairs of an event recording and an image in 20 classes (Deng et al., IEEE TIP 2021).

`pathFile.csv` has a header line; line i after it (from 0) describes sample i, and its fifth word is the class. Labels
follow the code point order of the class names, which for the published 20 is the order in the method's released code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Final

from ...cache.errors import SourceError
from .base import LARGEST_SENSOR, Events, EventStream, Sample, UInt8Array
from .formats.identify import identify
from .formats.isolated import LocalFile
from .formats.mat5 import open_mat5
from .formats.pieces import hold_short
from .images import decode_image
from .layout import Place, open_place
from .random_access import RandomAccess, as_access
from .reader import FileReader

_CLASS_WORD: Final = 4  # the fifth
_CLASS_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]+")


class _CepDvs(FileReader):
    """The part that recordings and images share: ids "<class>/<i>" by `pathFile.csv`, one file `<i>.<suffix>` each.

    A file that is missing is still listed: reading it raises, so it is counted and reported instead of dropped.
    """

    origin = "the link that the authors give in https://github.com/Brain-Cog-Lab/Transfer-for-DVS/issues/2 (by hand)"
    licence = "not known; ask its authors"
    num_samples = 10_000
    num_classes = 20
    folder: ClassVar[str]
    suffix: ClassVar[str]

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        root = self._find_root(open_place(self.path))
        csv = root.where("pathFile.csv")
        classes = parse_path_file(root.read("pathFile.csv"), csv)
        place = self._place = root.child(self.folder)
        files = self._files_by_number(place, len(classes), csv)
        class_names = tuple(sorted(set(classes)))
        labels = {name: label for label, name in enumerate(class_names)}
        samples = [
            self._add(name, str(number), labels[name], place, files.get(number, f"{number}{self.suffix}"))
            for number, name in enumerate(classes)
        ]
        return class_names, tuple(sorted(samples, key=lambda sample: (sample.label, sample.sample_id)))

    def _searched_places(self) -> Iterable[Place]:
        return (self._place,)

    def _find_root(self, start: Place) -> Place:
        folders, files = start.children()
        if "pathFile.csv" not in files and len(folders) == 1:  # an archive may add a folder of its own
            start = start.child(folders[0])
            files = start.children()[1]
        if "pathFile.csv" not in files:
            raise self.wrong_layout(start)
        return start

    def _files_by_number(self, place: Place, num_rows: int, csv: str) -> dict[int, str]:
        numbers: dict[int, str] = {}
        for file in place.children()[1]:
            stem = file.removesuffix(self.suffix)
            if stem == file:
                continue
            if not (stem.isascii() and stem.isdigit()) or int(stem) >= num_rows:
                raise SourceError(
                    f"{place.where(file)}: no label: {csv} describes the samples 0 to {num_rows - 1}; "
                    "remove the file or add its line"
                )
            if int(stem) in numbers:
                raise SourceError(
                    f"{place.where(file)}: has the same number as {numbers[int(stem)]}; remove one of them"
                )
            numbers[int(stem)] = file
        if not numbers:
            raise self.wrong_layout(place)
        return numbers


class CepDvs(_CepDvs):
    """The recordings: MAT files of version 5 or 7.3 with x, y, ts (us) and p (-1 or 1)."""

    name = "cepdvs"
    kind = "events"
    title = "CEP-DVS (recordings)"
    layout = "pathFile.csv and data/MAT/img/<number>.mat"
    sensor_size = LARGEST_SENSOR
    folder = "data/MAT/img"
    suffix = ".mat"

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Events | EventStream:
        content = as_access(data, sample.location)
        match identify(content, self.suffix):
            case "mat5":
                return hold_short(open_mat5(content, "whole us"), sample.location)
            case "hdf5":
                return hold_short(partial(LocalFile(content).read, "hdf5", "whole us"), sample.location)
            case other:
                raise SourceError(f"{sample.location}: is no MAT file but of the format {other}; fetch it again")


class CepDvsImages(_CepDvs):
    """The images, under the ids of their recordings."""

    name = "cepdvs-images"
    kind = "images"
    title = "CEP-DVS (images)"
    layout = "pathFile.csv and data/img/<number>.jpg"
    folder = "data/img"
    suffix = ".jpg"

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return decode_image(data, sample.location)


def parse_path_file(data: bytes, location: str) -> list[str]:
    """The class name of each sample, in order. Raises SourceError, naming the line, where there is none."""
    try:
        lines = data.decode("utf-8-sig").rstrip().splitlines()[1:]
    except UnicodeDecodeError as error:
        raise SourceError(f"{location}: byte {error.start} is no UTF-8 text; fetch the file again") from error
    if not lines:
        raise SourceError(f"{location}: expected a header line and one line for each sample, found no sample")
    classes = []
    for number, line in enumerate(lines):
        words = line.split()
        if len(words) <= _CLASS_WORD or not _CLASS_NAME.fullmatch(words[_CLASS_WORD]):
            raise SourceError(
                f"{location}: line {number + 2} (sample {number}) has no class name as its fifth word: {line[:80]!r}"
            )
        classes.append(words[_CLASS_WORD])
    return classes
