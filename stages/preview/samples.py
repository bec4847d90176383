"""Which samples of a store are shown, and what the store says of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import StoreError
from ...cache.pairs import NO_SPLIT, OUTSIDE, SPLIT_CODES, PairStore
from ...cache.store import FrameStore
from .pictures import PreviewSample

IntArray = NDArray[np.int64]

_SPLITS = {NO_SPLIT: "in no split", OUTSIDE: "in no split"} | {code: name for name, code in SPLIT_CODES.items()}


@dataclass(frozen=True)
class Named:
    """What a run named recordings.

    run: how it is called on the page.  classes: by sample id.  weights: whose, in words.
    """

    run: str
    classes: Mapping[str, str]
    weights: str = "the run"


@dataclass(frozen=True)
class Sample:
    """What a store says of one of its samples.

    row: in the store of recordings (or of images).  split: empty in a store without one.  about: how many events it
    has, empty where the store does not say it.  photo_row: of the image beside it, -1: none.  photo: whose photo that
    is, in words.
    """

    row: int
    sample_id: str
    class_name: str
    split: str
    about: str
    photo_row: int
    photo: str


class ShownStore:
    """A pair, event or image store whose samples are shown.

    samples: the store of what is shown.  images: the images beside it (of an image store, itself); None without.
    """

    def __init__(self, store: FrameStore) -> None:
        self.pairs = PairStore(store.path) if store.kind == "pairs" else None
        self.samples = self.pairs.events if self.pairs else store
        self.images = self.pairs.images if self.pairs else store if store.kind == "images" else None
        self.path, self.dataset = store.path, self.samples.attributes.dataset

    def readable(self, ids: Collection[str] | None = None) -> IntArray:
        """Rows of the samples that can be read, of these ids. Raises StoreError: there is none."""
        rows = np.flatnonzero(self.samples.valid)
        if not len(rows):
            raise StoreError(f"{self.path}: every sample is quarantined, there is nothing to draw")
        if ids is not None:
            rows = rows[[name in ids for name in self.samples.sample_id[rows].tolist()]]
        if not len(rows):
            raise StoreError(f"{self.path}: none of the recordings that were named can be read")
        return rows

    def choose(self, rows: IntArray, num_samples: int) -> list[Sample]:
        """At most `num_samples` of these rows, spread over classes and splits, in the store's order."""
        splits = self.pairs.store.column("split")[rows] if self.pairs else np.zeros(len(rows), np.int64)
        _, cells = np.unique(np.stack([self.samples.label[rows], splits]), axis=1, return_inverse=True)
        return [self._describe(int(row)) for row in rows[spread(cells.ravel(), num_samples)]]

    def _describe(self, row: int) -> Sample:
        about, photo_row, photo = "", -1, ""
        if "num_in_frames/zarr.json" in self.samples.attributes.files:
            num_events, seen = (int(self.samples.column(name)[row]) for name in ("num_events", "num_in_frames"))
            about = f"{num_events:,} events, {seen / num_events:.1%} in these frames"
        if self.pairs is None:
            photo_row, photo = (-1, "") if self.images is None else (row, "image")
        elif self.images is not None:
            photo_row, photo = _photo_of(self.pairs, row)
        return Sample(
            row,
            str(self.samples.sample_id[row]),
            self.samples.class_names[self.samples.label[row]],
            _SPLITS[int(self.pairs.store.column("split")[row])] if self.pairs else "",
            about,
            photo_row,
            photo,
        )


def _photo_of(pairs: PairStore, row: int) -> tuple[int, str]:
    """The recording's own photo, else the first image of its class that may teach; -1 where there is neither."""
    own = int(pairs.store.column("photo_row")[row])
    if own >= 0:
        return own, "its own photo"
    label = int(pairs.labels_of(np.array([row]))[0])
    first, last = pairs.store.column("pool_offsets")[[label, label + 1]] if label >= 0 else (0, 0)
    return (int(pairs.store.column("pool_rows")[first]), "a photo of its class") if last > first else (-1, "")


def spread(cells: IntArray, num_samples: int) -> IntArray:
    """Positions of at most `num_samples` samples, ascending: as many of each cell as can be, evenly spaced in it.

    cells: (n,) number of the cell (a class in a split) of each sample. The same for every call.
    """
    sizes = np.bincount(cells)
    level = max(size for size in range(sizes.max() + 1) if np.minimum(sizes, size).sum() <= num_samples)
    quotas, larger = np.minimum(sizes, level), np.flatnonzero(sizes > level)
    quotas[larger[_evenly(len(larger), min(num_samples - int(quotas.sum()), len(larger)))]] += 1
    of_cells = [np.flatnonzero(cells == cell)[_evenly(size, quotas[cell])] for cell, size in enumerate(sizes.tolist())]
    return np.sort(np.concatenate(of_cells))


def _evenly(size: int, num: int) -> IntArray:
    """`num` of the numbers below `size`."""
    return np.linspace(0, size - 1, num).astype(np.int64)


def choose_samples(store: FrameStore, num_samples: int) -> list[PreviewSample]:
    """Samples to draw, spread over classes and splits; recordings beside their own photo where they have one."""
    shown = ShownStore(store)
    return [_read(shown, sample) for sample in shown.choose(shown.readable(), num_samples)]


def _read(store: ShownStore, sample: Sample) -> PreviewSample:
    row, photo_row = np.array([sample.row]), np.array([sample.photo_row])
    photo = None if sample.photo_row < 0 else store.images
    return PreviewSample(
        sample.sample_id,
        None if store.samples.kind == "images" else store.samples.read("frames", row)[0],
        None if photo is None else photo.read("images", photo_row)[0],
        None if photo is None else photo.read("value", photo_row)[0],
        about=sample.about,
        class_name=sample.class_name,
        split=sample.split,
        photo=sample.photo or "image",
    )
