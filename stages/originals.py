"""Which image each recording was made of, as far as it is known; and which other images are copies of such a one.

By names: first the same one, then what is said of the two sources' (`sources.scenes`), classes through `image_classes`.
Then, of an image that was found, by content: files of the same digest and pictures that look the same (`likeness`).
The edges of some images stand out as what was recorded (`trace`). Where names say nothing, or nothing that is sure,
such an image is kept out, too, and a recording that its name gives to another image is not known any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cache.errors import StoreError
from ..cache.pairs import HELD_OUT, SPLIT_CODES, Reach
from ..cache.store import FrameStore
from . import likeness
from .pairing_config import PairingConfig
from .sources.scenes import SCENES, last_number, not_known, plain_name

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


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
    key, is_complete = _rule(config, events, images)
    known = np.full(len(events), is_complete)
    found: list[tuple[int, int, bool]] = []
    if images is not None and key is not None:
        pictured = [_split(name) for name in map(str, images.sample_id)]
        same = _rows_by_key(pictured)
        similar = _rows_by_key((class_name, key(stem)) for class_name, stem in pictured)
        for row, (class_name, stem) in enumerate(_split(name) for name in map(str, events.sample_id)):
            scene = key(stem)
            by_class = []  # under the class that teaches it, and under its own name, which may be that of another one
            for name in dict.fromkeys((config.image_classes.get(class_name, class_name), class_name)):
                by_class.append(same[name, stem] or (similar[name, scene] if scene is not None else []))
                found += [(row, image, bool(same[name, stem])) for image in by_class[-1]]
            conflicts = len(by_class) > 1 and all(by_class)
            is_one = sum(map(len, by_class)) == 1
            known[row] = not conflicts and (is_one or (is_complete and scene is not None))
    recordings, shown, has_same_name = np.array(found, np.int64).reshape(-1, 3).T
    if config.originals == "by_number":  # and then the names of several recordings that differ may be those of others
        is_shared = np.bincount(shown)[shown] > 1
        known[recordings[is_shared & (has_same_name == 0)]] = False
    return _originals(known, recordings, shown)


def is_told(events: FrameStore, images: FrameStore | None) -> bool:
    """Whether it is known of the two sources which image a recording was made of, or that it was made of none."""
    if images is None:
        return True
    recorded, pictured = (SCENES.get(store.attributes.dataset) for store in (events, images))
    if recorded is None or pictured is None:
        return False
    return recorded.collection != pictured.collection or recorded.name is not not_known


def require_not_told(config: PairingConfig, events: FrameStore, images: FrameStore | None) -> None:
    """Raises StoreError: `originals` says what is known of the two sources already."""
    if images is not None and config.originals != "auto" and is_told(events, images):
        raise StoreError(
            f"pairing.originals = {config.originals}: of {events.attributes.dataset} with {images.attributes.dataset} "
            "it is known which image a recording was made of; leave it at auto"
        )


def trace(
    config: PairingConfig, originals: Originals, events: FrameStore, images: FrameStore | None, rows: IntArray
) -> Originals:
    """What the edges of images say of the recordings at `rows` that are not known, or known by the names of sources of
    which nothing is told. An image that stands out becomes a candidate; one that has another is not known any more.
    """
    is_doubtful = config.originals == "auto" and not is_told(events, images)
    rows = rows if is_doubtful else rows[~originals.known[rows]]
    if images is None or not len(rows):
        return originals
    likely = find_likely(events, rows, images, np.flatnonzero(images.valid))
    rows, likely = rows[likely >= 0], likely[likely >= 0]
    named = originals.rows[rows]
    differs = (named < 0) | ~are_same(images, np.where(named < 0, likely, named), likely)
    rows, likely = rows[differs], likely[differs]
    known = originals.known.copy()
    known[rows] = False
    recordings, shown = (np.append(*parts) for parts in ((originals.recordings, rows), (originals.images, likely)))
    return _originals(known, recordings, shown)


def find_likely(events: FrameStore, rows: IntArray, images: FrameStore, among: IntArray) -> IntArray:
    """(n,) for each recording at `rows` the one of the images `among` (m,) that it is likely to show, -1: none is.

    Pictures smaller than a thumbnail tell nothing: others are alike by chance.
    """
    if not len(rows) or min(images.array("value").shape[-2:]) < likeness.SIDE:
        return np.full(len(rows), -1, np.int64)
    looks = (likeness.edges_of(images, among), likeness.images_of(images, among))
    found = likeness.find_recorded(likeness.recordings_of(events, rows), *looks)
    return np.where(found >= 0, np.append(among, -1)[found], -1)


def find_copies(images: FrameStore, rows: IntArray, among: BoolArray) -> BoolArray:
    """(M,) which of the images `among` (M,) are one of those at `rows`, have its digest, or look the same."""
    copies = np.zeros(len(images), np.bool_)
    copies[rows] = True
    copies |= np.isin(images.column("source_digest"), images.column("source_digest")[rows])
    others, seen = np.flatnonzero(among & ~copies), rows[images.valid[rows]]
    if len(seen) and len(others):
        nearest = likeness.find_nearest(likeness.images_of(images, others), likeness.images_of(images, np.unique(seen)))
        copies[others[nearest.same(likeness.IMAGES_ALIKE)]] = True
    return copies & among


def are_same(images: FrameStore, rows: IntArray, others: IntArray) -> BoolArray:
    """(n,) whether two images are one, have one digest, or look the same."""
    digests = images.column("source_digest")
    looks, other_looks = (likeness.images_of(images, part) for part in (rows, others))
    same: BoolArray = (rows == others) | (digests[rows] == digests[others])
    for at in np.flatnonzero(~same)[:, None]:
        same[at] = looks[at].same(other_looks[at], likeness.IMAGES_ALIKE)[0]
    return same


def photos_in_reach(originals: Originals, images: FrameStore | None, in_pool: BoolArray, held_out: IntArray) -> Reach:
    """What is known of the photos of the recordings at `held_out`. in_pool: (M,) which images training can reach."""
    if images is not None:
        photos = originals.rows[held_out]
        if find_copies(images, photos[photos >= 0], in_pool).any():
            return "some"
        if find_copies(images, np.setdiff1d(originals.candidates(held_out), photos), in_pool).any():
            return "unknown"
    return "none" if originals.known[held_out].all() else "unknown"


def is_held_out(split: NDArray[np.int8]) -> BoolArray:
    """(N,) which recordings the network is judged by."""
    held_out: BoolArray = np.isin(split, [SPLIT_CODES[name] for name in HELD_OUT])
    return held_out


def _originals(known: BoolArray, recordings: IntArray, images: IntArray) -> Originals:
    """With the image of those that are known and have one candidate."""
    rows = np.full(len(known), -1, np.int64)
    rows[recordings] = images
    rows[~known | (np.bincount(recordings, minlength=len(known)) != 1)] = -1
    return Originals(rows, known, recordings, images)


def _rule(
    config: PairingConfig, events: FrameStore, images: FrameStore | None
) -> tuple[Callable[[str], str | None] | None, bool]:
    """What names the scene in a sample's stem (None: nothing), and whether a scene without an image is known to have
    none.
    """
    if images is None or config.originals == "none":
        return None, True
    if config.originals == "by_number":
        return last_number, True
    if config.originals == "by_id":
        return plain_name, True
    recorded, pictured = (SCENES.get(store.attributes.dataset) for store in (events, images))
    if recorded is None or pictured is None:
        return plain_name, False
    if recorded.collection != pictured.collection:
        return None, True
    return recorded.name, True


def _split(sample_id: str) -> tuple[str, str]:
    class_name, _, stem = sample_id.rpartition("/")
    return class_name, stem


def _rows_by_key(keys: Iterable[tuple[str, str | None]]) -> defaultdict[tuple[str, str | None], list[int]]:
    rows: defaultdict[tuple[str, str | None], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return rows
