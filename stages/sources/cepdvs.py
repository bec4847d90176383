"""CEP-DVS: 10,000 pairs of an event recording and an image in 20 classes (Deng et al., IEEE TIP 2021).

`pathFile.csv` has a header line; line i after it (from 0) describes sample i, and its fifth word is the class. Labels
follow the code point order of the class names, which for the published 20 is the order in the method's released code.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from ...cache.errors import SourceError
from .base import LARGEST_SENSOR, Recording, Sample
from .formats.recordings import open_recording
from .random_access import RandomAccess, as_access
from .reader import EventReader, ImageReader, Listing, Reader
from .tree import Place, open_place

_CLASS_WORD: Final = 4  # the fifth
_CLASS_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]+")


class _CepDvs(Reader):
    """The part that recordings and images share: ids "<class>/<i>" by `pathFile.csv`, one file `<i>.<suffix>` each.

    A file that is missing is still listed: reading it raises, so it is counted and reported instead of dropped.
    """

    origin = "the link that the authors give in https://github.com/Brain-Cog-Lab/Transfer-for-DVS/issues/2 (by hand)"
    licence = "not known; ask its authors"
    num_samples = 10_000
    num_classes = 20
    suffix: ClassVar[str]

    def list_samples(self) -> Listing:
        root = open_place(self.path)
        folders, _ = root.children()
        if not root.exists("pathFile.csv") and len(folders) == 1:  # an archive may add a folder of its own
            root = root.child(folders[0])
        if not root.exists("pathFile.csv"):
            raise self.wrong_layout(root)
        csv = root.where("pathFile.csv")
        classes = parse_path_file(root.read("pathFile.csv"), csv)
        place = root.child(self.folder)
        self.searched = (place,)
        files = self._files_by_number(place, len(classes), csv)
        class_names = sorted(set(classes))
        labels = {name: label for label, name in enumerate(class_names)}
        return tuple(class_names), [
            self.add_file(name, str(number), labels[name], place, files.get(number, f"{number}{self.suffix}"))
            for number, name in enumerate(classes)
        ]

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


class CepDvs(_CepDvs, EventReader):
    """The recordings: MAT files of version 5 or 7.3 with x, y, ts (us) and p (-1 or 1)."""

    name = "cepdvs"
    title = "CEP-DVS (recordings)"
    layout = "pathFile.csv and data/MAT/img/<number>.mat"
    sensor_size = LARGEST_SENSOR
    folder = "data/MAT/img"
    suffix = ".mat"
    access = "file"

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Recording:
        content = as_access(data, sample.location)
        return open_recording(content, self.suffix, "whole us", formats=("mat5", "hdf5"))


class CepDvsImages(_CepDvs, ImageReader):
    """The images, under the ids of their recordings."""

    name = "cepdvs-images"
    title = "CEP-DVS (images)"
    layout = "pathFile.csv and data/img/<number>.jpg"
    folder = "data/img"
    suffix = ".jpg"


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
