"""How many samples of a store look like another of it, by how strictly one asks: what the limits of `likeness` cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cache.store import FrameStore
from ..stages import likeness
from ..stages.originals import are_same, find_likely, find_originals
from ..stages.pairing_config import PairingConfig

IntArray = NDArray[np.int64]

LIMITS: Final = (0.995, 0.99, 0.98, 0.97, 0.95, 0.9)


@dataclass(frozen=True)
class AlikeReport:
    """alike: of `num_samples`, how many have another within `likeness.MAX_DISTANCE` and a limit of correlation.

    of_photos: of the `num_of_photos` recordings whose photos are alike by the strictest limit, how many are alike
    themselves; None without photos.  recorded: of the recordings, how many are said to show one image by its edges,
    (rightly, or to a copy; wrongly), and with their own photo taken away, which is wrong but where a copy is left.
    """

    num_samples: int
    alike: dict[float, int]
    num_of_photos: int
    of_photos: dict[float, int] | None
    recorded: tuple[int, int, int] | None = None

    def rows(self) -> dict[str, str]:
        """A line for each limit."""
        found = {f"{limit:g}": f"{count:,} of {self.num_samples:,}" for limit, count in self.alike.items()}
        for limit, count in (self.of_photos or {}).items():
            found[f"{limit:g}"] += f"; where their photos are alike: {count:,} of {self.num_of_photos:,}"
        if self.recorded is not None:
            right, wrong, absent = (f"{count:,}" for count in self.recorded)
            found["by edges"] = f"{right} right, {wrong} wrong; without their own photo {absent}"
        return found


def run(store_path: Path, images_path: Path | None = None) -> AlikeReport:
    """Compare each sample of a store of images or recordings with all others, and with what their photos say."""
    store = FrameStore(store_path)
    rows = np.flatnonzero(store.valid)
    looks = (likeness.images_of if store.kind == "images" else likeness.recordings_of)(store, rows)
    nearest = likeness.find_nearest(looks, looks, np.arange(len(looks)))
    alike = {limit: int(np.count_nonzero(nearest.same(limit))) for limit in LIMITS}
    if images_path is None:
        return AlikeReport(len(rows), alike, 0, None)
    images = FrameStore(images_path)
    photo = find_originals(PairingConfig(), store, images).rows[rows]
    rows, photo = rows[photo >= 0], photo[photo >= 0]
    shown = likeness.images_of(images, photo)
    twins = likeness.find_nearest(shown, shown, np.arange(len(shown)))
    first = np.flatnonzero(twins.same(LIMITS[0]))
    own, other = (likeness.recordings_of(store, part) for part in (rows[first], rows[twins.index[first]]))
    correlation = (own.thumbnails * other.thumbnails).sum(1)
    near = np.bitwise_count(own.hashes ^ other.hashes) <= likeness.MAX_DISTANCE
    of_photos = {limit: int(np.count_nonzero(near & (correlation >= limit))) for limit in LIMITS}
    return AlikeReport(len(looks), alike, len(first), of_photos, _recorded(store, rows, images, photo))


def _recorded(events: FrameStore, rows: IntArray, images: FrameStore, photo: IntArray) -> tuple[int, int, int]:
    found = find_likely(events, rows, images, np.arange(len(images)))
    right = int(np.count_nonzero(are_same(images, photo, np.where(found < 0, photo, found)) & (found >= 0)))
    absent = 0
    for part in (np.arange(first, len(rows), 10) for first in range(10)):  # a tenth of each class, without its photos
        others = np.setdiff1d(np.arange(len(images)), photo[part])
        absent += int(np.count_nonzero(find_likely(events, rows[part], images, others) >= 0))
    return right, int(np.count_nonzero(found >= 0)) - right, absent
