"""Which image each recording was made of, as far as it is known; and which other images are copies of such a one.

By names: first the same one, then what is said of the two sources' (`sources.scenes`), classes through `image_classes`.
Then, of an image that was found, by content: files of the same digest and pictures that look the same (`likeness`).
Of recordings whose names say nothing, the edges of some images stand out as what was recorded (`find_likely`): likely
enough to keep those out, not enough to call the others known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cache.pairs import HELD_OUT, SPLIT_CODES, Reach
from ..cache.store import FrameStore
from . import likeness
from .pairing_config import PairingConfig
from .sources.scenes import SCENES, last_number, plain_name

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Originals:
    """rows: (N,) the image that each recording was made of, -1: none of them.  known: (N,) whether that is known."""

    rows: IntArray
    known: BoolArray


def find_originals(config: PairingConfig, events: FrameStore, images: FrameStore | None) -> Originals:
    """The image of each recording, by what is said of the names."""
    rows = np.full(len(events), -1, np.int64)
    key, is_complete = _rule(config, events, images)
    if images is None or key is None:
        return Originals(rows, np.full(len(events), is_complete))
    names = [_split(name) for name in map(str, events.sample_id)]
    wanted = [(config.image_classes.get(class_name, class_name), stem) for class_name, stem in names]
    found = _rows_by_key((class_name, stem) for class_name, stem in map(_split, map(str, images.sample_id)))
    similar = _rows_by_key((class_name, key(stem)) for class_name, stem in map(_split, map(str, images.sample_id)))
    tells = np.zeros(len(events), np.bool_)
    for row, (class_name, stem) in enumerate(wanted):
        scene = key(stem)
        candidates = found[class_name, stem] or (similar[class_name, scene] if scene is not None else [])
        tells[row] = scene is not None and len(candidates) <= 1
        if len(candidates) == 1:
            rows[row] = candidates[0]
    return Originals(rows, (rows >= 0) | (tells & is_complete))


def find_likely(events: FrameStore, rows: IntArray, images: FrameStore, among: IntArray) -> IntArray:
    """(n,) for each recording at `rows` the one of the images `among` (m,) that it is likely to show, -1: none is."""
    if not len(rows):
        return np.zeros(0, np.int64)
    found = likeness.find_recorded(likeness.recordings_of(events, rows), likeness.edges_of(images, among))
    return np.where(found >= 0, np.append(among, -1)[found], -1)


def find_copies(images: FrameStore, rows: IntArray, among: BoolArray) -> BoolArray:
    """(M,) which of the images `among` (M,) are one of those at `rows`, have its digest, or look the same."""
    copies = np.zeros(len(images), np.bool_)
    copies[rows] = True
    copies |= np.isin(images.column("source_digest"), images.column("source_digest")[rows])
    others = np.flatnonzero(among & ~copies)
    if len(rows) and len(others):
        nearest = likeness.find_nearest(likeness.images_of(images, others), likeness.images_of(images, np.unique(rows)))
        copies[others[nearest.same(likeness.IMAGES_ALIKE)]] = True
    return copies & among


def photos_in_reach(originals: Originals, copies_in_pool: BoolArray, split: NDArray[np.int8]) -> Reach:
    """What is known of the photos of held-out recordings. copies_in_pool: (M,) which images of the pool show one."""
    if copies_in_pool.any():
        return "some"
    return "none" if originals.known[is_held_out(split)].all() else "unknown"


def is_held_out(split: NDArray[np.int8]) -> BoolArray:
    """(N,) which recordings the network is judged by."""
    held_out: BoolArray = np.isin(split, [SPLIT_CODES[name] for name in HELD_OUT])
    return held_out


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
