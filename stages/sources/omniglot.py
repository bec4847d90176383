"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people (Lake et al., Science 2015).

`images_background` holds 30 alphabets, `images_evaluation` 20:  <alphabet>/character<NN>/<NNNN>_<drawer>.png, black
strokes on white, 105 x 105 pixels. N-Omniglot records the same drawings, so both name their samples alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ...cache.errors import SourceError
from .base import Sample, UInt8Array
from .images import decode_image
from .layout import Place, describe_children, find_folder, open_place
from .reader import FileReader

NUM_DRAWERS: Final = 20
_CHARACTER: Final = re.compile(r"character\d{2}")
_IMAGE: Final = re.compile(r"\d{4}_(\d{2})\.png")


def drawing_id(character: str, drawer: int) -> str:
    """The id of a drawing, and of its recording: "<alphabet>/character<NN>/<drawer>", drawers from 01 to 20."""
    return f"{character}/{drawer:02d}"


def find_characters(start: Place, parts: Sequence[str], archive_suffix: str = "") -> dict[str, Place]:
    """The folders of the characters by class name, "<alphabet>/character<NN>", in code point order of the names.

    They lie in the folders `parts`, in archives called like these, or, where there is none of them, in `start` itself;
    {} where there are none in it. Raises SourceError: a part without characters, the same character in two of them.
    """
    archives = {part: (f"{part}{archive_suffix}",) if archive_suffix else () for part in parts}
    roots = [way[-1] for part in parts if (way := _way_to(start, part, archives[part]))]
    found: dict[str, Place] = {}
    for root in roots or [start]:
        characters = dict(_characters_in(root))
        if roots and not characters:
            raise SourceError(
                f"{root}: expected <alphabet>/character<NN>, found {describe_children(root)}; fetch and unpack it again"
            )
        for name in characters.keys() & found.keys():
            raise SourceError(f"{characters[name]}: lies in {found[name]}, too; remove one of them")
        found |= characters
    return dict(sorted(found.items()))


def roots_of(characters: Iterable[Place]) -> set[Place]:
    """The folders that hold the alphabets of these folders of characters."""
    return {place.parent.parent for place in characters}


def _way_to(start: Place, part: str, archives: Sequence[str]) -> list[Place]:
    """The way to a part; unpacked into a folder of its own name, it lies in one more of it."""
    way = find_folder(start, part, archives)
    return way and (_way_to(way[-1], part, ()) if part in way[-1].children()[0] else way)


def _characters_in(root: Place) -> Iterator[tuple[str, Place]]:
    for alphabet in root.children()[0]:
        for character in root.child(alphabet).children()[0]:
            if _CHARACTER.fullmatch(character):
                yield f"{alphabet}/{character}", root.child(alphabet).child(character)


class Omniglot(FileReader):
    """The drawings. A class is a character of an alphabet, a sample's stem the drawer's number."""

    name = "omniglot"
    kind = "images"
    title = "Omniglot"
    origin = "https://github.com/brendenlake/omniglot/tree/master/python (`dvs-transfer download omniglot`)"
    licence = "MIT"
    layout = (
        "images_background/<alphabet>/character<NN>/<NNNN>_<drawer>.png, images_evaluation/... or both, or the "
        "archives images_background.zip, images_evaluation.zip"
    )
    num_samples = 32_460
    num_classes = 1_623

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        start = open_place(self.path)
        characters = find_characters(start, ("images_background", "images_evaluation"), ".zip")
        if not characters:
            raise self.wrong_layout(start)
        self._roots = roots_of(characters.values())
        samples: list[Sample] = []
        for label, (name, place) in enumerate(characters.items()):
            samples += self._drawings(name, label, place)
        return tuple(characters), tuple(samples)

    def _searched_places(self) -> Iterable[Place]:
        return self._roots

    def _drawings(self, name: str, label: int, place: Place) -> Iterator[Sample]:
        """The 20 drawings of a character. One that is missing is listed, too: reading it raises, so it is reported."""
        files = {int(match[1]): file for file in place.children()[1] if (match := _IMAGE.fullmatch(file))}
        strange = sorted(set(files) - set(range(1, NUM_DRAWERS + 1)))
        if strange:
            raise SourceError(f"{place.where(files[strange[0]])}: drawer {strange[0]}, expected 1 to {NUM_DRAWERS}")
        for drawer in range(1, NUM_DRAWERS + 1):
            _, _, stem = drawing_id(name, drawer).rpartition("/")
            yield self._add(name, stem, label, place, files.get(drawer, f"NNNN_{drawer:02d}.png"))

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return decode_image(data, sample.location)
