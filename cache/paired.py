"""`PairedCache`: the recordings of one split with their static images, as a torch data set or whole in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .digests import manifest_digest
from .errors import StoreError
from .pairs import SPLIT_CODES, PairStore, Reach, Split
from .places import CACHE_VARIABLE, ROOT_VARIABLE, is_address, place
from .store import FrameStore, find_store
from .views import FramesAndTargets

IntArray = NDArray[np.int64]


class PairedSample(TypedDict):
    """One recording and its image, if there are images; batches of them get a leading axis under `PairedCache.read`.

    events: (T, 2, H, W) float32 counts.  value: (1, H, W) float32, HSV's V in [0, 1].  label: class index.
    sample_id, image_id: "<class>/<stem>" of the recording and of the image.
    """

    events: Tensor
    value: NotRequired[Tensor]
    label: int
    sample_id: str
    image_id: NotRequired[str]


class PairedBatch(TypedDict):
    """Several samples: events (B, T, 2, H, W), value (B, 1, H, W), label (B,) int64, and their ids."""

    events: Tensor
    value: NotRequired[Tensor]
    label: Tensor
    sample_id: tuple[str, ...]
    image_id: NotRequired[tuple[str, ...]]


class PairedCache(Dataset[PairedSample]):
    """One split of a pair store. Opened with `PairedCache.open`; read-only; may be sent to worker processes.

    A recording's image is its own photo where the data set has one (and, of a training recording, the static pool),
    otherwise an image of its class from the pool, always the same one. Training draws from the pool instead:
    `image_labels`, `load_images`, `load_values`, and `load_recorded` where a simulated camera recorded them.
    Frames have `num_bins` time steps and `size` x `size` pixels.
    """

    def __init__(self, pairs: PairStore, split: Split, transform: Callable[[Tensor], Tensor] | None = None) -> None:
        self.pairs = pairs
        self.split: Split = split
        self.transform = transform
        self.rows = pairs.rows_of(split)
        self.pool_rows: IntArray = pairs.store.column("pool_rows")
        self.class_names = pairs.store.class_names
        self.num_classes = len(self.class_names)
        self.num_bins, self.size = (int(pairs.events.array("frames").shape[axis]) for axis in (1, -1))
        self.has_images = pairs.images is not None
        self.has_recorded = pairs.recorded is not None
        self.protocol, self.split_digest = pairs.protocol, pairs.description.split_digest
        self.fingerprint = pairs.store.attributes.fingerprint

    @classmethod
    def open(
        cls,
        path: str | Path,
        split: Split = "train",
        *,
        transform: Callable[[Tensor], Tensor] | None = None,
        root: str | Path | None = None,
    ) -> PairedCache:
        """Open a pair store: its folder or address, a pattern that fits one ("data/cache/nmnist+*"), or the first four
        or more digits of its fingerprint, which is looked for in `data/cache` below `root`; without one in
        $DVS_TRANSFER_CACHE, or below $DVS_TRANSFER_ROOT, or here.

        transform: what is done to the event frames of an item, (T, 2, H, W) float32, when one is taken by its index, so
        also by torch's DataLoader; `read` and the other methods give what the stores hold.
        Raises StoreError: no such store or several, a damaged one, no such split.
        """
        if split not in SPLIT_CODES:
            raise StoreError(f"no split {split!r}; expected one of {', '.join(SPLIT_CODES)}")
        cache = Path(root or os.environ.get(ROOT_VARIABLE) or ".", "data", "cache").expanduser()
        if root is None and (named := os.environ.get(CACHE_VARIABLE)):
            cache = place(named) if is_address(place(named)) else Path(named).expanduser()
        return cls(PairStore(find_store(path, cache)), split, transform)

    def __repr__(self) -> str:
        images = f"{len(self.pool_rows)} images in the static pool" if self.has_images else "no images"
        return (
            f"PairedCache({str(self.pairs.path)!r}: {self.split}, {len(self)} recordings of {self.num_classes} classes "
            f"in ({self.num_bins}, 2, {self.size}, {self.size}) frames, {images}, protocol {self.protocol})"
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PairedSample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a {self.split} split of {len(self)}")
        batch = self.read(np.array([index % len(self)]))
        events = batch["events"][0]
        sample: PairedSample = {
            "events": events if self.transform is None else self.transform(events),
            "label": int(batch["label"][0]),
            "sample_id": batch["sample_id"][0],
        }
        if self.has_images:
            sample |= {"value": batch["value"][0], "image_id": batch["image_id"][0]}
        return sample

    def read(self, indices: IntArray) -> PairedBatch:
        """The samples at `indices` (B,) of this split, in that order."""
        rows = self.rows[indices]
        batch: PairedBatch = {
            "events": torch.from_numpy(self.pairs.events.read("frames", rows).astype(np.float32)),
            "label": torch.from_numpy(self.event_labels[indices]),
            "sample_id": tuple(map(str, self.pairs.events.sample_id[rows])),
        }
        if self.has_images:
            image_rows = self.image_rows[indices]
            batch |= {
                "value": torch.from_numpy(self._images.read("value", image_rows)),
                "image_id": tuple(map(str, self._images.sample_id[image_rows])),
            }
        return batch

    def read_images(self, indices: IntArray) -> NDArray[np.uint8]:
        """(B, 3, H, W) RGB of the images that `read` gives with the samples at `indices` (B,)."""
        return self._images.read("images", self.image_rows[indices])

    def read_recorded(self, indices: IntArray) -> NDArray[Any]:
        """(B, T, 2, H, W) simulated recordings of these images, in the store's dtype. Raises StoreError: one
        has none."""
        rows, recorded = self.image_rows[indices], self._recorded
        silent = rows[~recorded.valid[rows]]
        if len(silent):
            raise StoreError(
                f"{recorded.path}: {recorded.sample_id[silent[0]]} has no recording: "
                f"{recorded.column('problem')[silent[0]]}"
            )
        return recorded.read("frames", rows)

    def read_strokes(self, indices: IntArray) -> NDArray[np.float32]:
        """(B, K, 4) how the images were drawn that `read` gives with the samples at `indices` (B,)."""
        return self._images.read("strokes", self.image_rows[indices])

    def load_events(self, indices: IntArray | None = None) -> NDArray[Any]:
        """(n, T, 2, H, W) recordings of the split, all or those at `indices` (n,), in the store's dtype."""
        return self.pairs.events.read("frames", self.rows if indices is None else self.rows[indices])

    def load_images(self, indices: IntArray | None = None) -> NDArray[np.uint8]:
        """(m, 3, H, W) RGB of the static pool, all or those at `indices` (m,) of it."""
        return self._images.read("images", self.pool_rows if indices is None else self.pool_rows[indices])

    def load_values(self, indices: IntArray | None = None) -> NDArray[np.float32]:
        """(m, 1, H, W) HSV's V of the static pool, in [0, 1], all or those at `indices` (m,) of it."""
        return self._images.read("value", self.pool_rows if indices is None else self.pool_rows[indices])

    def load_recorded(self, indices: IntArray | None = None) -> NDArray[Any]:
        """(m, T, 2, H, W) simulated recordings of the static pool's images, all or those at `indices` (m,) of it, in
        the store's dtype."""
        return self._recorded.read("frames", self.pool_rows if indices is None else self.pool_rows[indices])

    def load_strokes(self, indices: IntArray | None = None) -> NDArray[np.float32]:
        """(m, K, 4) how the static pool was drawn, all or those at `indices` (m,) of it; only with `has_strokes`.

        Dots of ink: x and y in shares of the image's side from its upper left corner, and from when to when the pen was
        there, in shares of the time of drawing; inf for dots that are not drawn.
        """
        return self._images.read("strokes", self.pool_rows if indices is None else self.pool_rows[indices])

    def as_dataset(
        self, transform: Callable[[Any], Any] | None = None, target_transform: Callable[[int], Any] | None = None
    ) -> FramesAndTargets:
        """The split without its images, as a data set of `(frames, target)`: (T, 2, H, W) float32 counts in numpy and
        the class index, each given to its transform first. Raises ValueError: the cache has a transform of its own."""
        if self.transform is not None:
            raise ValueError(
                "this cache was opened with a transform, which is for tensors; give as_dataset one instead"
            )
        height, width = self.pairs.events.array("frames").shape[-2:]
        return FramesAndTargets(
            self.load_events, self.event_labels, self.class_names, (width, height, 2), transform, target_transform
        )

    @cached_property
    def unlabelled(self) -> UnlabelledRecordings:
        """What training may see without labels, whichever split this is."""
        return UnlabelledRecordings(self.pairs)

    def count(self, split: Split) -> IntArray:
        """(C,) recordings of each class in a split of the pair store, be it this one or another."""
        return np.bincount(self.pairs.labels_of(self.pairs.rows_of(split)), minlength=self.num_classes)

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels; 0 without images."""
        return int(self._images.array("images").shape[-1]) if self.has_images else 0

    @property
    def has_strokes(self) -> bool:
        """Whether the store of images says how they were drawn."""
        return self.has_images and "strokes/zarr.json" in self._images.attributes.files

    @property
    def bin_mode(self) -> str:
        """How recordings were cut into time bins, see `FramesConfig.mode`."""
        return str(self.pairs.events.attributes.config["frames"]["mode"])

    @property
    def photos_in_reach(self) -> Reach:
        """Whether photos of validation, test and novel recordings are in the static pool."""
        return self.pairs.photos_in_reach

    @property
    def _images(self) -> FrameStore:
        if self.pairs.images is None:
            raise StoreError(
                f"{self.pairs.path}: recordings without images; pair them with a store of images (`dvs-transfer pair`)"
            )
        return self.pairs.images

    @property
    def _recorded(self) -> FrameStore:
        if self.pairs.recorded is None:
            raise StoreError(
                f"{self.pairs.path}: without recordings of its images; set a section [images.recorded], the simulated "
                "camera, and run `dvs-transfer preprocess`"
            )
        return self.pairs.recorded

    @cached_property
    def event_labels(self) -> IntArray:
        """(n,) class of each recording of the split."""
        return self.pairs.labels_of(self.rows)

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """(n,) id of each recording of the split."""
        return tuple(map(str, self.pairs.events.sample_id[self.rows]))

    @cached_property
    def groups(self) -> tuple[str, ...] | None:
        """(n,) what each recording of the split was cut out of, or is grouped by. See `PairStore.groups_of`."""
        return self.pairs.groups_of(self.rows)

    @cached_property
    def recordings_digest(self) -> str:
        """Of the ids and raw contents of the split's recordings: the same for whatever frames are made of them."""
        digests = self.pairs.events.column("source_digest")[self.rows]
        return manifest_digest(zip(self.sample_ids, map(str, digests), strict=True))

    @cached_property
    def image_labels(self) -> IntArray:
        """(m,) class of each image of the static pool."""
        offsets: IntArray = self.pairs.store.column("pool_offsets")
        return np.repeat(np.arange(self.num_classes), np.diff(offsets))

    @cached_property
    def image_ids(self) -> tuple[str, ...]:
        """(m,) id of each image of the static pool."""
        return tuple(map(str, self._images.sample_id[self.pool_rows])) if self.has_images else ()

    @cached_property
    def photo(self) -> IntArray:
        """(n,) position of each recording's own photo in the static pool; -1 where it has none there."""
        if not self.has_images:
            return np.full(len(self), -1, np.int64)
        position = np.full(len(self._images) + 1, -1, np.int64)  # the last one: of a recording without a photo
        position[self.pool_rows] = np.arange(len(self.pool_rows))
        own: IntArray = self.pairs.store.column("photo_row")[self.rows]
        return position[own]

    @cached_property
    def image_rows(self) -> IntArray:
        """(n,) the image row that `read` gives with each recording.

        A training recording's own photo is none where it may not teach: it is a copy of a held-out recording's, or one
        that `pool_share` leaves out.
        """
        rows: IntArray = self.pairs.store.column("photo_row")[self.rows]
        if self.split == "train":
            rows = np.where(self.photo >= 0, rows, -1)
        counts = np.bincount(self.image_labels, minlength=self.num_classes)
        first, count = (np.cumsum(counts) - counts)[self.event_labels], counts[self.event_labels]
        others = np.flatnonzero(rows < 0)
        lonely = others[count[others] == 0]
        if len(lonely):
            raise StoreError(
                f"{self.pairs.path}: {self.sample_ids[lonely[0]]} has neither its own photo nor one of its class in "
                "the static pool; novel classes have none there"
            )
        rows[others] = self.pool_rows[first[others] + others % count[others]]
        return rows


class UnlabelledRecordings:
    """The recordings that training may see, without their labels: those of "train" and those that are left over.

    Left over are recordings of the store's classes that ratios, `train_share` or `train_per_class` put into no split.
    None of them validates, tests, is novel or quarantined.
    """

    def __init__(self, pairs: PairStore) -> None:
        self.pairs = pairs
        self.rows = pairs.open_rows()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def event_labels(self) -> IntArray:
        """(n,) of -1, which no loss takes."""
        return np.full(len(self), -1, np.int64)

    @cached_property
    def sample_ids(self) -> tuple[str, ...]:
        """(n,) id of each recording."""
        return tuple(map(str, self.pairs.events.sample_id[self.rows]))

    def load_events(self, indices: IntArray | None = None) -> NDArray[Any]:
        """(n, T, 2, H, W) recordings, all or those at `indices` (n,), in the store's dtype."""
        return self.pairs.events.read("frames", self.rows if indices is None else self.rows[indices])
