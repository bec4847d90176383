"""Which image each recording was made of, as far as names tell; and which other images are copies of such a one.

By names: first the same one, then what is said of the two sources' (`sources.scenes`), classes through `image_classes`.
Then, of an image that was found, by content: files of the same digest and pictures that look the same (`likeness`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import StoreError
from ...cache.pairs import Reach
from ...cache.store import FrameStore
from ..pairing_config import PairingConfig
from ..sources.reader import PARTS
from ..sources.scenes import SCENES, last_number, not_known, plain_name
from ..sources.segments import Segments
from . import likeness
from .groups import reader_of, source_groups

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class _Found(NamedTuple):
    """Images that a recording may show. has_same_name, is_of_another_part: how they were found."""

    rows: list[int]
    has_same_name: bool
    is_of_another_part: bool


@dataclass(frozen=True)
class Originals:
    """rows: (N,) the image that each recording was made of, -1: none, or not known which.

    recordings, images: (k,) candidates: recording i may have been made of image i; the one in `rows` is one of them.
    known: (N,) whether a recording was made of one of its candidates or, where it has none, of no image.
    """

    rows: IntArray
    known: BoolArray
    recordings: IntArray
    images: IntArray

    def candidates(self, rows: IntArray) -> IntArray:
        """The images that one of the recordings at `rows` may have been made of."""
        return np.unique(self.images[np.isin(self.recordings, rows)])

    def where(self, chosen: BoolArray, others: Originals) -> Originals:
        """These of the recordings `chosen` (N,), those of others for the rest."""
        own, rest = chosen[self.recordings], ~chosen[others.recordings]
        return Originals(
            np.where(chosen, self.rows, others.rows),
            np.where(chosen, self.known, others.known),
            np.append(self.recordings[own], others.recordings[rest]),
            np.append(self.images[own], others.images[rest]),
        )


def find_originals(config: PairingConfig, events: FrameStore, images: FrameStore | None) -> Originals:
    """The image of each recording, by what is said of the names."""
    key, is_complete = _rule(config.originals, events, images)
    known = np.full(len(events), is_complete)
    found: list[tuple[int, int, bool, bool]] = []
    if images is not None and key is not None:
        find = _by_name(images, key)
        for row, (class_name, part, stem) in enumerate(_split(events)):
            scene = key(stem)
            by_class = []  # under the class that teaches it, and under its own name, which may be that of another one
            for name in dict.fromkeys((config.image_classes.get(class_name, class_name), class_name)):
                shows = find(name, part, stem)
                by_class.append(shows.rows)
                found += [(row, image, shows.has_same_name, shows.is_of_another_part) for image in shows.rows]
            conflicts = len(by_class) > 1 and all(by_class)
            is_one = sum(map(len, by_class)) == 1
            known[row] = not conflicts and (is_one or (is_complete and scene is not None))
    recordings, shown, has_same_name, is_of_another_part = np.array(found, np.int64).reshape(-1, 4).T
    is_shared = _of_several(events, recordings, shown)
    known[recordings[is_shared & (is_of_another_part == 1)]] = False  # parts may count their pictures anew
    if config.originals == "by_number":  # and then the names of several recordings that differ may be those of others
        known[recordings[is_shared & (has_same_name == 0)]] = False
    rows = np.full(len(known), -1, np.int64)
    rows[recordings] = shown
    rows[~known | (np.bincount(recordings, minlength=len(known)) != 1)] = -1
    return Originals(rows, known, recordings, shown)


def _of_several(events: FrameStore, recordings: IntArray, shown: IntArray) -> BoolArray:
    """(k,) whether the image of each candidate is one of several recordings; pieces of one are one."""
    names = [str(name) for name in events.sample_id]
    reader = reader_of(events)
    if issubclass(reader, Segments):
        names = source_groups(reader, names)
    pairs = {(image, names[row]) for row, image in zip(recordings.tolist(), shown.tolist(), strict=True)}
    counts = Counter(image for image, _ in pairs)
    return np.array([counts[image] > 1 for image in shown.tolist()], np.bool_)


def is_told(events: FrameStore, images: FrameStore | None) -> bool:
    """Whether it is known of the two sources which image a recording was made of, or that it was made of none."""
    key, is_complete = _rule("auto", events, images)
    return is_complete and key is not not_known


def require_not_told(config: PairingConfig, events: FrameStore, images: FrameStore | None) -> None:
    """Raises StoreError: `originals` says what is known of the two sources already."""
    if images is not None and config.originals != "auto" and is_told(events, images):
        raise StoreError(
            f"pairing.originals = {config.originals}: of {events.attributes.dataset} with {images.attributes.dataset} "
            "it is known which image a recording was made of; leave it at auto"
        )


def find_copies(images: FrameStore, rows: IntArray, among: BoolArray) -> BoolArray:
    """(M,) which of the images `among` (M,) are one of those at `rows`, have its digest, or look the same."""
    digests = images.column("source_digest")
    copies = np.isin(digests, digests[rows])
    copies[rows] = True
    others, seen = np.flatnonzero(among & ~copies), np.unique(rows[images.valid[rows]])
    if len(seen) and len(others):
        nearest = likeness.find_nearest(likeness.pictures_of(images, others), likeness.pictures_of(images, seen))
        copies[others[nearest.same(likeness.IMAGES_ALIKE)]] = True
    return copies & among


def photos_in_reach(originals: Originals, images: FrameStore | None, in_pool: BoolArray, held_out: IntArray) -> Reach:
    """What is known of the photos of the recordings at `held_out`. in_pool: (M,) which images training can reach."""
    if images is not None:
        photos = originals.rows[held_out]
        if find_copies(images, photos[photos >= 0], in_pool).any():
            return "some"
        if find_copies(images, np.setdiff1d(originals.candidates(held_out), photos), in_pool).any():
            return "unknown"
    return "none" if originals.known[held_out].all() else "unknown"


def _rule(
    originals: str, events: FrameStore, images: FrameStore | None
) -> tuple[Callable[[str], str | None] | None, bool]:
    """What names the scene in a sample's stem (None: nothing), and whether a scene without an image is known to have
    none.
    """
    if images is None or originals == "none":
        return None, True
    if originals != "auto":
        return (last_number if originals == "by_number" else plain_name), True
    recorded, pictured = (SCENES.get(store.attributes.dataset) for store in (events, images))
    if recorded is None or pictured is None:
        return plain_name, False
    return (recorded.name if recorded.collection == pictured.collection else None), True


def _split(store: FrameStore) -> list[tuple[str, str, str]]:
    """Class, part ("" for none) and stem of each sample; of a piece, the stem of what it was cut out of."""
    found, reader = [], reader_of(store)
    for sample_id in map(str, store.sample_id):
        if issubclass(reader, Segments):
            recording = reader.group_of(sample_id).rpartition("/")[2]
            found.append((sample_id.partition("/")[0], reader.part_of(sample_id), recording))
            continue
        class_name, _, stem = sample_id.rpartition("/")
        above, _, part = class_name.rpartition("/")
        found.append((above, part, stem) if above and part in PARTS else (class_name, "", stem))
    return found


def _by_name(images: FrameStore, key: Callable[[str], str | None]) -> Callable[[str, str, str], _Found]:
    """Finds by class, part and stem: images of the same name, else of the same scene.

    Those of the same part, where there are some; else of any, since who made the parts may have put a picture into
    another one than its recording, or into none.
    """
    rows: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for row, (class_name, part, stem) in enumerate(_split(images)):
        for place in ((class_name, part), (class_name,)):
            rows["same", *place, stem].append(row)
            rows["similar", *place, key(stem)].append(row)

    def find(class_name: str, part: str, stem: str) -> _Found:
        scene = key(stem)
        for place in ((class_name, part), (class_name,)):
            if same := rows.get(("same", *place, stem)):
                return _Found(same, True, len(place) == 1)
            if scene is not None and (similar := rows.get(("similar", *place, scene))):
                return _Found(similar, False, len(place) == 1)
        return _Found([], False, False)

    return find
