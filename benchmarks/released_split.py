"""How many test recordings of the method's released code have their photo in its static pool.

Its event clips are those of a listing of each class's folder in the order that the file system gives (tonic's
NCALTECH101 sorts the classes alone): the last tenth tests. Its static pool is the first nine tenths of each class's
photos (`braincog/datasets/datasets.py`: get_NCALTECH101_data, get_transfer_CALTECH101_data) and one more, as the upper
bound of the draw has 1 added to it (`main_transfer.py`, line 928). That they lie by number is assumed: see
docs/measurements/leakage.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..cache.store import FrameStore
from ..stages.leakage.audit import Audited, audit_photos, audit_recordings
from ..stages.leakage.originals import find_originals
from ..stages.pairing_config import PairingConfig
from .measure import Figures

IntArray = NDArray[np.int64]
Listing = Callable[[str, list[str]], list[str]]
"""The names of a class's recordings (their stems) in the order in which a folder lists them."""

PORTION: Final = 0.9


def run(events_path: Path, images_path: Path, folder: Path | None, num_random: int = 20) -> Figures:
    """Make the released split of two stores and audit it.

    folder: the class folders of the recordings, whose own order is one of the listings.
    `listings`: by order, the audit of the test recordings' photos, and how many are like a training recording.
    `random`: of seeded random orders, how many test recordings have their own photo in the pool.
    """
    events, images = FrameStore(events_path), FrameStore(images_path)
    listings: dict[str, Listing] = {"sorted": lambda class_name, stems: sorted(stems)}
    if folder is not None:
        listings["as os.walk gives it here"] = lambda class_name, stems: list(walked(folder / class_name))
    orders = {f"random, seed {seed}": shuffled(seed) for seed in range(num_random)}
    found = {}
    for name, listing in {**listings, **dict(list(orders.items())[:1])}.items():
        audited = released_split(events, images, listing)
        (test,), _ = audit_photos(audited)
        (between,), _ = audit_recordings(audited)
        found[name] = {**vars(test), "num_like_a_training_one": between.num_alike}
    own = [_num_own(released_split(events, images, listing)) for listing in orders.values()]
    random = {"least": min(own), "most": max(own), "mean": float(np.mean(own))}
    return {"listings": found, "random": own, "random_orders": random}


def released_split(events: FrameStore, images: FrameStore, listing: Listing) -> Audited:
    """The released split of the recordings, and its static pool."""
    train, test, pool = [], [], []
    for class_name in events.class_names:
        rows, photos = (_rows_of_class(store, class_name) for store in (events, images))
        listed = [rows[stem] for stem in listing(class_name, list(rows))]
        first = round(PORTION * len(listed))
        train += listed[:first]
        test += listed[first:]
        pool += [photos[stem] for stem in sorted(photos)][: first + 1]
    rows_of = {"train": np.array(sorted(train)), "test": np.array(sorted(test))}
    originals = find_originals(PairingConfig(), events, images)
    return Audited(events, images, originals, rows_of, np.array(sorted(pool)))  # type: ignore[arg-type]


def shuffled(seed: int) -> Listing:
    """Each class in a random order."""
    rng = np.random.default_rng(seed)
    return lambda class_name, stems: [stems[at] for at in rng.permutation(len(stems))]


def walked(folder: Path) -> Iterator[str]:
    """The stems of a folder's recordings in the order in which the file system lists them."""
    for _, _, files in os.walk(folder):
        yield from (Path(file).stem for file in files if file.endswith("bin"))


def _rows_of_class(store: FrameStore, class_name: str) -> dict[str, int]:
    """The rows of a class by the stem of their ids."""
    rows = np.flatnonzero(store.label == store.class_names.index(class_name))
    return {str(store.sample_id[row]).rpartition("/")[2]: int(row) for row in rows}


def _num_own(audited: Audited) -> int:
    """How many test recordings have their own photo in the pool."""
    return int(np.count_nonzero(np.isin(audited.originals.rows[audited.rows["test"]], audited.pool_rows)))
