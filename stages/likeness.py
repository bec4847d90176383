"""Which pictures show the same: a perceptual hash finds those that may, a correlation decides.

The hash is dHash (Krawetz, "Kind of Like That", 2013): of a picture of 8 x 9 pixels, whether each is darker than the
one to its right. It is the same for another size, quality or brightness. Simple pictures, digits for example, share
hashes and yet are others: so a pair counts as one picture when their thumbnails correlate, too.
An even picture, of one brightness, is one with those of the same. Not found: mirrored, turned or cropped copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..cache.store import FrameStore

IntArray = NDArray[np.int64]

MAX_DISTANCE: Final = 10  # of 64 bits
IMAGES_ALIKE: Final = 0.99  # correlation of two that are one picture; how both were chosen: docs/measurements.md
RECORDINGS_ALIKE: Final = 0.98  # of two recordings, in which noise differs
EDGES_ALIKE: Final = 0.5  # of a recording and the edges of its photo, and
EDGES_AHEAD: Final = 0.1  # by how much more than those of any other image
SIDE: Final = 24  # of a thumbnail, pixels
_EVEN: Final = 1e-4  # standard deviation of an even picture; what float32 leaves of one is far below
_LEVEL: Final = 1 / 255  # of grey; even pictures that differ by more are two
_STEP: Final = 0.01  # of a thumbnail's range: less than that is no difference, else an even ground hashes its noise
_READ_SAMPLES: Final = 1024  # at a time
_FARTHEST: Final = 65  # bits; more than two hashes can differ by
_COMPARED: Final = 1 << 22  # hashes held against each other at a time


@dataclass(frozen=True)
class Pictures:
    """n pictures. thumbnails: (n, 576) float32, mean 0 and length 1, or 0 of an even picture.  hashes: (n,) uint64.
    levels: (n,) float64 the brightness of an even picture, NaN of others.
    """

    thumbnails: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    levels: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, rows: IntArray) -> Pictures:
        return Pictures(self.thumbnails[rows], self.hashes[rows], self.levels[rows])

    def correlate(self, others: Pictures) -> NDArray[np.float32]:
        """(n, m) with each of m others."""
        alike = self.thumbnails @ others.thumbnails.T
        even = np.flatnonzero(np.isfinite(self.levels))
        alike[even] = np.abs(self.levels[even, None] - others.levels) <= _LEVEL
        return alike

    def same(self, others: Pictures, min_correlation: float) -> NDArray[np.bool_]:
        """(n, m) which are one picture with which of m others."""
        apart = np.bitwise_count(self.hashes[:, None] ^ others.hashes)
        same: NDArray[np.bool_] = (apart <= MAX_DISTANCE) & (self.correlate(others) >= min_correlation)
        return same


@dataclass(frozen=True)
class Nearest:
    """For each of n pictures the most alike among others: its index, -1 where there is none; the distance of the two
    hashes, bits; the correlation of the two thumbnails. Each (n,).
    """

    index: IntArray
    distance: IntArray
    correlation: NDArray[np.float64]

    def same(self, min_correlation: float) -> NDArray[np.bool_]:
        """(n,) whether both are one picture."""
        return (self.distance <= MAX_DISTANCE) & (self.correlation >= min_correlation)


def images_of(store: FrameStore, rows: IntArray) -> Pictures:
    """The images at `rows` of a store, by their V channel."""
    return _join(describe(store.read("value", part)[:, 0]) for part in _parts(rows))


def edges_of(store: FrameStore, rows: IntArray) -> Pictures:
    """The edges of the images at `rows`, where a moving camera sees events: the root of the slope of the V channel."""
    slopes = (np.gradient(store.read("value", part)[:, 0], axis=(1, 2)) for part in _parts(rows))
    return _join(describe(np.sqrt(np.hypot(*slope))) for slope in slopes)


def recordings_of(store: FrameStore, rows: IntArray) -> Pictures:
    """The recordings at `rows` of a store, by the root of each pixel's number of events."""
    frames = (store.read("frames", part).sum((1, 2), dtype=np.float32) for part in _parts(rows))
    return _join(describe(np.sqrt(counts)) for counts in frames)


def describe(pictures: NDArray[Any]) -> Pictures:
    """Pictures (n, H, W), of one channel."""
    weights = [_mean_weights(size, SIDE) for size in pictures.shape[1:]]
    small = weights[0] @ pictures.astype(np.float32) @ weights[1].T
    flat = small.reshape(len(small), SIDE**2).astype(np.float64)
    is_even = flat.std(1) <= _EVEN
    spread = np.where(is_even, np.inf, np.ptp(flat, axis=1))[:, None, None]
    lines = _mean_weights(SIDE, 8) @ small @ _mean_weights(SIDE, 9).T
    bits = np.diff(lines, axis=2) > _STEP * spread
    hashes = np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]
    level = flat.mean(1)
    flat -= level[:, None]
    flat /= np.where(is_even, np.inf, np.linalg.norm(flat, axis=1))[:, None]
    return Pictures(flat.astype(np.float32), hashes, np.where(is_even, level, np.nan))


def nothing() -> Pictures:
    return describe(np.zeros((0, 1, 1)))


def find_nearest(of: Pictures, among: Pictures, own: IntArray | None = None) -> Nearest:
    """For each picture the best correlated of those within `MAX_DISTANCE`, or where there is none of the nearest ones.

    own: (n,) for each picture the one in `among` that is itself and is not to be found; -1 for none.
    """
    index = np.full(len(of), -1, np.int64)
    distance = np.full(len(of), _FARTHEST, np.int64)
    correlation = np.zeros(len(of))
    step = max(1, _COMPARED // max(1, len(among)))
    for first in range(0, len(of) if len(among) else 0, step):
        rows = np.arange(first, min(first + step, len(of)))
        apart = np.bitwise_count(of.hashes[rows, None] ^ among.hashes[None]).astype(np.int64)
        if own is not None:
            itself = np.flatnonzero(own[rows] >= 0)
            apart[itself, own[rows[itself]]] = _FARTHEST
        alike = of[rows].correlate(among)
        alike[apart > np.maximum(MAX_DISTANCE, apart.min(1, keepdims=True))] = -2
        found = alike.argmax(1)
        each = np.arange(len(rows))
        index[rows], distance[rows], correlation[rows] = found, apart[each, found], alike[each, found]
    index[distance == _FARTHEST] = -1
    return Nearest(index, distance, correlation)


def find_recorded(recordings: Pictures, edges: Pictures, images: Pictures) -> IntArray:
    """(n,) the image whose edges each recording is likely to show, -1 where none stands out from all other pictures.

    edges, images: of the same m images; copies of the best one do not count as others.
    """
    found = np.full(len(recordings), -1, np.int64)
    step = max(1, _COMPARED // max(1, len(edges)))
    for first in range(0, len(recordings) if len(edges) > 1 else 0, step):
        alike = recordings.thumbnails[first : first + step] @ edges.thumbnails.T
        best = alike.max(1)
        for at in np.flatnonzero(best >= EDGES_ALIKE):
            rivals = np.flatnonzero(alike[at] > best[at] - EDGES_AHEAD)
            rivals = rivals[np.argsort(-alike[at, rivals], kind="stable")]
            parts = (rivals[:2], rivals[2:])  # the second one tells most often
            if all(images[part].same(images[rivals[:1]], IMAGES_ALIKE).all() for part in parts):
                found[first + at] = rivals[0]
    return found


def _mean_weights(size: int, num_parts: int) -> NDArray[np.float32]:
    """(num_parts, size): each row is the mean over one of equal parts of a line of pixels."""
    edges = np.linspace(0, size, num_parts + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * num_parts / size).astype(np.float32)
    return weights


def _parts(rows: IntArray) -> Iterator[IntArray]:
    return (rows[first : first + _READ_SAMPLES] for first in range(0, len(rows), _READ_SAMPLES))


def _join(parts: Iterator[Pictures]) -> Pictures:
    found = [nothing(), *parts]
    names = ("thumbnails", "hashes", "levels")
    return Pictures(*(np.concatenate([getattr(part, name) for part in found]) for name in names))
