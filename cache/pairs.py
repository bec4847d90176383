"""The pair store: which recordings train, validate and test, which photo belongs to each, which photos may teach.

Its classes, in label order, are those that recordings and images share (all of the recordings' where there are no
images); its labels count them, whatever numbers they have in the two stores.

Columns, rows being those of the two stores that it names:
    split       (N,) int8 for each recording: 0 train, 1 validation, 2 test, 3 novel (of a class
                that nothing is learned of), -1 none (quarantined, or left over), -2 none, and nothing is learned of
                it without its label either (in no part of a split that was given)
    photo_row   (N,) int64, the image made of the same scene, -1 where there is none
    train_rows, train_offsets   (n,), (C + 1,) int64: class c's training recordings are
                                train_rows[train_offsets[c]:train_offsets[c + 1]]
    pool_rows, pool_offsets     (m,), (C + 1,) the same for the static pool, the images that training may use
    group       (N,) what each recording was cut out of, or the group that it was put into; not where each stands alone
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .digests import fingerprint
from .documents import Frozen
from .errors import StoreError
from .locks import once
from .places import is_address, remove_folder, remove_objects
from .store import FrameStore, find_stores
from .writer import StoreBuilder, StoreLayout

IntArray = NDArray[np.int64]
Split = Literal["train", "validation", "test", "novel"]
SPLIT_CODES: dict[Split, int] = {"train": 0, "validation": 1, "test": 2, "novel": 3}
NO_SPLIT = -1
OUTSIDE = -2
HELD_OUT: tuple[Split, ...] = ("validation", "test", "novel")

Reach = Literal["none", "some", "unknown"]
"""Whether photos of held-out recordings are in the static pool: none is, as is known of each; some are; not known."""


def worst_reach(reaches: Iterable[Reach]) -> Reach:
    """What is to be said of several together, at least one."""
    order: tuple[Reach, ...] = ("none", "unknown", "some")
    return max(reaches, key=order.index)


class StoreReference(Frozen):
    """Another store in the same folder, by name and fingerprint."""

    name: str
    fingerprint: str


class PairDescription(Frozen):
    """What a pair store's `config` attribute holds.

    images: None where recordings are split without images.  recorded: recordings of the images by a simulated camera,
    row for row, where there are any.  pairing: the pairing stage's configuration.
    split_digest: see `split_digest`.  photos_in_reach: None in stores of earlier versions.
    split_name: which split it is, in words; "" for one that was drawn. It names a file, and is no part of what is the
    same.
    """

    events: StoreReference
    images: StoreReference | None
    pairing: dict[str, Any]
    split_digest: str
    photos_in_reach: Reach | None = None
    recorded: StoreReference | None = None
    split_name: str = ""
    LATER = frozenset({"recorded", "split_name"})


@dataclass(frozen=True)
class PairPlan:
    """The content of a pair store, before it is written."""

    split: NDArray[np.int8]
    photo_row: IntArray
    train_rows: IntArray
    train_offsets: IntArray
    pool_rows: IntArray
    pool_offsets: IntArray
    group: NDArray[Any] | None = None


def rows_by_class(rows: IntArray, labels: IntArray, num_classes: int) -> tuple[IntArray, IntArray]:
    """Sort rows by class, keeping their order inside one; returns them and the (C + 1,) offsets of the classes."""
    order = np.argsort(labels[rows], kind="stable")
    counts = np.bincount(labels[rows], minlength=num_classes)
    return rows[order].astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def split_digest(parts: dict[str, Iterable[str]]) -> str:
    """SHA-256 over the sample ids of each part of a split ("train" ..., "pool"), order ignored."""
    return fingerprint({part: sorted(ids) for part, ids in parts.items()})


def has_groups(protocol: str) -> bool:
    """Whether a protocol, as it is shown, keeps groups of recordings on one side."""
    return any(words in protocol for words in ("groups by", "whole recordings"))


def name_protocol(protocol: str, split_name: str) -> str:
    """As it is shown wherever a result is."""
    return f"{protocol}, {split_name}" if split_name else protocol


def reference_to(store: FrameStore) -> StoreReference:
    return StoreReference(name=store.path.name, fingerprint=store.attributes.fingerprint)


def write_pairs(
    folder: Path, name: str, description: PairDescription, plan: PairPlan, class_names: tuple[str, ...]
) -> Path:
    """Write a pair store into `folder`, or return the one that is there already; its path. One of an earlier version
    that lacks a column is made anew, under its name."""
    config, num_recordings = description.model_dump(mode="json"), len(plan.split)
    layout = StoreLayout(
        kind="pairs",
        dataset=name,
        num_samples=num_recordings,
        samples_per_shard=num_recordings,
        class_names=class_names,
        config=config,
        recipe=fingerprint({key: value for key, value in config.items() if key != "split_name"}),
        arrays={},
    )
    builder = StoreBuilder(folder, layout)
    columns = {name: values for name, values in vars(plan).items() if values is not None}

    def find() -> Path | None:
        found, keys = find_stores(folder, name, layout.recipe).items(), {f"{column}/zarr.json" for column in columns}
        return next((path for path, store in found if keys <= store.files.keys()), None)

    def write() -> Path:
        for path in find_stores(folder, name, layout.recipe):
            _give_way(path)
        builder.begin()
        builder.write_shard(0, {}, [{}] * num_recordings)
        return builder.finish(columns, description.split_digest)

    return once(folder, layout.name, find, write, builder.discard)[0]


def _give_way(path: Path) -> None:
    """Remove a store in whose place one is to be made: at no time a part of it looks whole."""
    if is_address(path):
        remove_objects([path / "zarr.json"])
    else:
        path = path.rename(path.with_name(f".{path.name}.old"))
    remove_folder(path)


class PairStore:
    """An open pair store with the stores that it joins. Raises StoreError when one is missing or another.

    images, recorded: None where there are none.
    """

    def __init__(self, path: str | Path) -> None:
        self.store = FrameStore(path)
        if self.store.kind != "pairs":
            raise StoreError(f"{path}: a store of {self.store.kind}; expected a pair store (`dvs-transfer pair`)")
        self.description = PairDescription.model_validate(self.store.attributes.config)
        self.events = self._open(self.description.events)
        self.images = None if self.description.images is None else self._open(self.description.images)
        self.recorded = None if self.description.recorded is None else self._open(self.description.recorded)

    @property
    def path(self) -> Path:
        return self.store.path

    @property
    def protocol(self) -> str:
        """Which photos may teach, and which split it is: "disjoint", "disjoint, official split"."""
        return name_protocol(str(self.description.pairing["protocol"]), self.description.split_name)

    @property
    def photos_in_reach(self) -> Reach:
        """What is known of the photos of held-out recordings; of a store of an earlier version, what it tells."""
        if self.description.photos_in_reach is not None:
            return self.description.photos_in_reach
        photos = self.store.column("photo_row")[np.concatenate([self.rows_of(split) for split in HELD_OUT])]
        if np.isin(photos[photos >= 0], self.store.column("pool_rows")).any():
            return "some"
        return "none" if self.images is None else "unknown"

    def labels_of(self, rows: IntArray) -> IntArray:
        """(n,) class in this store of each event row; -1 for one that is none of its classes."""
        index = {name: label for label, name in enumerate(self.store.class_names)}
        own = np.array([*(index.get(name, -1) for name in self.events.class_names), -1], np.int64)  # last: quarantined
        return own[self.events.label[rows]]

    def groups_of(self, rows: IntArray) -> tuple[str, ...] | None:
        """(n,) what each event row was cut out of, or is grouped by; None where each stands alone.

        Raises StoreError: a store of an earlier version, which kept groups together and does not say which.
        """
        if "group/zarr.json" in self.store.attributes.files:
            return tuple(map(str, self.store.column("group")[rows]))
        if has_groups(self.protocol):
            raise StoreError(
                f"{self.path}: made by an earlier version, which did not note which recordings are of one group; run "
                "`dvs-transfer preprocess` (or `pair`) again with the same settings: it adds that, and changes nothing"
            )
        return None

    def rows_of(self, split: Split) -> IntArray:
        """The event rows of a split, ascending."""
        return np.flatnonzero(self.store.column("split") == SPLIT_CODES[split]).astype(np.int64)

    def open_rows(self) -> IntArray:
        """The event rows that training may see, with a label or without, ascending: of this store's classes, in no
        held-out split and not quarantined. Those of "train", and those that ratios and shares left over."""
        in_no_split = np.flatnonzero(self.store.column("split") == NO_SPLIT)
        left_over = in_no_split[self.labels_of(in_no_split) >= 0]  # neither quarantined nor of an unused class
        return np.union1d(self.rows_of("train"), left_over)

    def _open(self, reference: StoreReference) -> FrameStore:
        store = FrameStore(self.path.parent / reference.name)
        if store.attributes.fingerprint != reference.fingerprint:
            raise StoreError(
                f"{self.path}: was made with {reference.name} of fingerprint {reference.fingerprint[:12]}, the store "
                f"there now has {store.attributes.fingerprint[:12]}; run `dvs-transfer pair` again"
            )
        return store
