"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people (Lake et al., Science 2015).

`images_background` holds 30 alphabets, `images_evaluation` 20:  <alphabet>/character<NN>/<NNNN>_<drawer>.png, black
strokes on white, 105 x 105 pixels. N-Omniglot records the same drawings, so both name their samples alike.
`strokes_background` and `strokes_evaluation` hold how each was drawn, <NNNN>_<drawer>.txt in the same folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final

from ...cache.digests import content_digest
from ...cache.errors import SourceError
from .base import Sample
from .reader import ImageReader, Listing
from .strokes import Strokes, parse_strokes
from .tree import Place, describe_children, find_folder, open_place

NUM_DRAWERS: Final = 20
_CHARACTER: Final = re.compile(r"character\d{2}")
_IMAGE: Final = re.compile(r"\d{4}_(\d{2})\.png")
_STROKES: Final = ("strokes_background", "strokes_evaluation")


def find_characters(start: Place, parts: Sequence[str], archive_suffix: str = "") -> dict[str, Place]:
    """The folders of the characters by class name, "<alphabet>/character<NN>", in code point order of the names.

    They lie in the folders `parts`, in archives called like these, or, where there is none of them, in `start` itself;
    {} where there are none in it. Raises SourceError: a part without characters, the same character in two of them.
    """
    roots = [places[-1] for part in parts if (places := _places_to(start, part, archive_suffix))]
    found: dict[str, Place] = {}
    for root in roots or [start]:
        characters = {
            f"{alphabet}/{character}": root.child(alphabet).child(character)
            for alphabet in root.children()[0]
            for character in root.child(alphabet).children()[0]
            if _CHARACTER.fullmatch(character)
        }
        if roots and not characters:
            raise SourceError(
                f"{root}: expected <alphabet>/character<NN>, found {describe_children(root)}; fetch and unpack it again"
            )
        for name in characters.keys() & found.keys():
            raise SourceError(f"{characters[name]}: lies in {found[name]}, too; remove one of them")
        found |= characters
    return dict(sorted(found.items()))


def roots_of(characters: Iterable[Place]) -> tuple[Place, ...]:
    """The folders that hold the alphabets of these folders of characters."""
    return tuple({place.parent.parent for place in characters})


def _places_to(start: Place, part: str, archive_suffix: str) -> list[Place]:
    """The places on the way to a part; unpacked into a folder of its own name, it lies in one more of it."""
    places = find_folder(start, part, [f"{part}{archive_suffix}"] if archive_suffix else ())
    return places and (_places_to(places[-1], part, "") if part in places[-1].children()[0] else places)


class Omniglot(ImageReader):
    """The drawings. A class is a character of an alphabet, a sample's stem the drawer's number.

    A drawing that is missing is listed, too: reading it raises, so it is reported.
    """

    name = "omniglot"
    title = "Omniglot"
    origin = "https://github.com/brendenlake/omniglot/tree/master/python (`dvs-transfer download omniglot`)"
    licence = "MIT"
    layout = (
        "images_background/<alphabet>/character<NN>/<NNNN>_<drawer>.png, images_evaluation/... or both, or the "
        "archives images_background.zip, images_evaluation.zip"
    )
    num_samples = 32_460
    num_classes = 1_623

    def list_samples(self) -> Listing:
        characters = find_characters(open_place(self.path), ("images_background", "images_evaluation"), ".zip")
        self.searched = roots_of(characters.values())
        samples: list[Sample] = []
        for label, (name, place) in enumerate(characters.items()):
            files = {int(match[1]): file for file in place.children()[1] if (match := _IMAGE.fullmatch(file))}
            for drawer in sorted(files.keys() - set(range(1, NUM_DRAWERS + 1))):
                raise SourceError(f"{place.where(files[drawer])}: drawer {drawer}, expected 1 to {NUM_DRAWERS}")
            for drawer in range(1, NUM_DRAWERS + 1):
                file = files.get(drawer, f"NNNN_{drawer:02d}.png")
                samples.append(self.add_file(name, f"{drawer:02d}", label, place, file))
        return tuple(characters), samples


class OmniglotStrokes(Omniglot):
    """The same drawings with their strokes, which are part of what a sample is: without them it cannot be read."""

    name = "omniglot-strokes"
    title = "Omniglot with strokes"
    origin = (
        "https://github.com/brendenlake/omniglot/tree/master/python (`dvs-transfer download omniglot`, and by hand "
        "strokes_background.zip and strokes_evaluation.zip, beside the images)"
    )
    layout = (
        "images_background/<alphabet>/character<NN>/<NNNN>_<drawer>.png with "
        "strokes_background/<alphabet>/character<NN>/<NNNN>_<drawer>.txt, images_evaluation/... with "
        "strokes_evaluation/..., or archives of these names (.zip)"
    )
    has_strokes = True

    def list_samples(self) -> Listing:
        class_names, samples = super().list_samples()
        start = open_place(self.path)
        if not any(_places_to(start, part, ".zip") for part in _STROKES):
            raise SourceError(
                f"{self.path}: expected {' or '.join(_STROKES)} beside the images, as folders or .zip; found "
                f"{describe_children(start)}. Put them there, or take the source omniglot, which has no strokes; "
                f"get it: {self.origin}"
            )
        self._strokes = find_characters(start, _STROKES, ".zip")
        self.searched += roots_of(self._strokes.values())
        return class_names, samples

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """{"strokes": digest of the file}: a sample with other strokes is another one. Raises SourceError."""
        place, file = self._strokes_of(sample)
        return {"strokes": content_digest(place.read(file))}

    def read_strokes(self, sample: Sample) -> Strokes:
        place, file = self._strokes_of(sample)
        return parse_strokes(place.read(file), place.where(file))

    def is_used(self, place: Place, name: str) -> bool:
        """The images, and the strokes of each."""
        folder, _, file = name.rpartition("/")
        image = self._strokes.get(folder) == place.child(folder) and f"{file.removesuffix('.txt')}.png"
        return super().is_used(place, name) or (file.endswith(".txt") and (folder, image) in self._images)

    @cached_property
    def _images(self) -> set[tuple[str, str]]:
        """Character and file name of every image."""
        return {(id.rpartition("/")[0], name.rpartition("/")[2]) for id, (_, name) in self._files.items()}

    def _strokes_of(self, sample: Sample) -> tuple[Place, str]:
        """Where the strokes of a sample lie. Raises SourceError."""
        character = sample.sample_id.rpartition("/")[0]
        file = self._files[sample.sample_id][1].rpartition("/")[2].replace(".png", ".txt")
        place = self._strokes.get(character)
        if place is None or not place.exists(file):
            where = f"{character}/{file}" if place is None else place.where(file)
            raise SourceError(f"{sample.location}: its strokes are missing, expected {where}; fetch them again")
        return place, file
