"""Which pictures show the same: a perceptual hash finds those that may, a correlation decides.

The hash is dHash (Krawetz, "Kind of Like That", 2013): of a picture of 8 x 9 pixels, whether each is darker than the
one to its right. It is the same for another size, quality or brightness. Simple pictures, digits for example, share
hashes and yet are others: so a pair counts as one picture when their thumbnails correlate, too.
An even picture, of one brightness, is one with those of the same. Not found: mirrored, turned or cropped copies.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cache.store import FrameStore

IntArray = NDArray[np.int64]

MAX_DISTANCE: Final = 10  # of 64 bits
# Correlations of two that are one picture; how both were chosen: docs/measurements/leakage.md
IMAGES_ALIKE: Final = 0.99
RECORDINGS_ALIKE: Final = 0.98  # of two recordings, in which noise differs
_SIDE: Final = 24  # of a thumbnail, pixels
_EVEN: Final = 1e-4  # standard deviation of an even picture; what float32 leaves of one is far below
_LEVEL: Final = 1 / 255  # of grey; even pictures that differ by more are two
_STEP: Final = 0.01  # of a thumbnail's range: less than that is no difference, else an even ground hashes its noise
_READ_SAMPLES: Final = 1024  # at a time
_FARTHEST: Final = 65  # bits; more than two hashes can differ by
_COMPARED: Final = 1 << 22  # hashes held against each other at a time


class Pictures(NamedTuple):
    """n pictures. thumbnails: (n, 576) float32, mean 0 and length 1, or 0 of an even picture.  hashes: (n,) uint64.
    levels: (n,) float64 the brightness of an even picture, NaN of others.
    """

    thumbnails: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    levels: NDArray[np.float64]

    def at(self, rows: IntArray) -> Pictures:
        return Pictures(self.thumbnails[rows], self.hashes[rows], self.levels[rows])


class Nearest(NamedTuple):
    """For each of n pictures the most alike among others: its row, -1 where there is none; the distance of the two
    hashes, bits; the correlation of the two thumbnails. Each (n,).
    """

    row: IntArray
    distance: IntArray
    correlation: NDArray[np.float64]

    def same(self, min_correlation: float) -> NDArray[np.bool_]:
        """(n,) whether both are one picture."""
        return (self.distance <= MAX_DISTANCE) & (self.correlation >= min_correlation)


def pictures_of(store: FrameStore, rows: IntArray) -> Pictures:
    """The samples at `rows`: images by their V channel, recordings by the root of each pixel's number of events."""
    found = [describe(np.zeros((0, 1, 1)))]
    for first in range(0, len(rows), _READ_SAMPLES):
        part = rows[first : first + _READ_SAMPLES]
        if store.kind == "images":
            found.append(describe(store.read("value", part)[:, 0]))
        else:
            found.append(describe(np.sqrt(store.read("frames", part).sum((1, 2), dtype=np.float32))))
    return Pictures(*map(np.concatenate, zip(*found, strict=True)))


def describe(pictures: NDArray[Any]) -> Pictures:
    """Pictures (n, H, W), of one channel."""
    weights = [_mean_weights(size, _SIDE) for size in pictures.shape[1:]]
    small = weights[0] @ pictures.astype(np.float32) @ weights[1].T
    flat = small.reshape(len(small), _SIDE**2).astype(np.float64)
    is_even = flat.std(1) <= _EVEN
    spread = np.where(is_even, np.inf, np.ptp(flat, axis=1))[:, None, None]
    lines = _mean_weights(_SIDE, 8) @ small @ _mean_weights(_SIDE, 9).T
    bits = np.diff(lines, axis=2) > _STEP * spread
    hashes = np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]
    level = flat.mean(1)
    flat -= level[:, None]
    flat /= np.where(is_even, np.inf, np.linalg.norm(flat, axis=1))[:, None]
    return Pictures(flat.astype(np.float32), hashes, np.where(is_even, level, np.nan))


def find_nearest(of: Pictures, among: Pictures, own: IntArray | None = None) -> Nearest:
    """For each picture the best correlated of those within `MAX_DISTANCE`, or where there is none of the nearest ones.

    own: (n,) for each picture the one in `among` that is itself and is not to be found; -1 for none.
    """
    num_of, num_among = len(of.hashes), len(among.hashes)
    row, distance, correlation = np.full(num_of, -1), np.full(num_of, _FARTHEST), np.zeros(num_of)
    step = max(1, _COMPARED // max(1, num_among))
    for first in range(0, num_of if num_among else 0, step):
        part = slice(first, first + step)
        apart = np.bitwise_count(of.hashes[part, None] ^ among.hashes).astype(np.int64)
        if own is not None:
            itself = np.flatnonzero(own[part] >= 0)
            apart[itself, own[part][itself]] = _FARTHEST
        alike = of.thumbnails[part] @ among.thumbnails.T
        even = np.flatnonzero(np.isfinite(of.levels[part]))
        alike[even] = np.abs(of.levels[part][even, None] - among.levels) <= _LEVEL
        alike[apart > np.maximum(MAX_DISTANCE, apart.min(1, keepdims=True))] = -2
        found, each = alike.argmax(1), np.arange(len(alike))
        row[part], distance[part], correlation[part] = found, apart[each, found], alike[each, found]
    row[distance == _FARTHEST] = -1
    return Nearest(row, distance, correlation)


def _mean_weights(size: int, num_parts: int) -> NDArray[np.float32]:
    """(num_parts, size): each row is the mean over one of equal parts of a line of pixels."""
    edges = np.linspace(0, size, num_parts + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * num_parts / size).astype(np.float32)
    return weights
