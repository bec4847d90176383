"""The pairing stage: align recordings with photos, split the recordings, decide which photos may teach.

A split depends on the samples' ids, the ratios and the seed alone: inside each class, recordings are ordered by a hash
of (seed, id), the first ones test, the next validate, the next train. So another `train_share` or protocol tests the
same recordings, and a share of 10 % is contained in one of 20 %; likewise for the static pool and `pool_share`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cache.errors import StoreError
from ..cache.pairs import (
    NO_SPLIT,
    SPLIT_CODES,
    PairDescription,
    PairPlan,
    reference_to,
    rows_by_class,
    split_digest,
    write_pairs,
)
from ..cache.store import FrameStore
from .pairing_config import PairingConfig

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PairingReport:
    """What pairing did: counts of recordings and photos, the split's digest, the store's path."""

    path: Path
    protocol: str
    split_digest: str
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int
    num_unused: int
    num_pool: int
    num_with_photo: int


def run(config: PairingConfig, events_path: Path, images_path: Path, out: Path) -> PairingReport:
    """Pair two stores of the folder `out` and write the pair store there.

    Raises StoreError: stores of the wrong kind or in another folder, class names or sizes that differ, a class without
    training recordings or photos.
    """
    events, images = _open(events_path, "events", out), _open(images_path, "images", out)
    _require_same_classes(events, images)
    _require_same_size(events, images)
    plan = plan_pairs(config, events, images)
    split: dict[str, NDArray[np.str_]] = {
        name: events.sample_id[plan.split == code] for name, code in SPLIT_CODES.items()
    }
    digest = split_digest({**split, "pool": images.sample_id[plan.pool_rows]})
    description = PairDescription(
        events=reference_to(events),
        images=reference_to(images),
        pairing=config.model_dump(mode="json"),
        split_digest=digest,
    )
    name = f"{events.attributes.dataset}+{images.attributes.dataset}"
    return PairingReport(
        path=write_pairs(out, name, description, plan, events),
        protocol=config.protocol,
        split_digest=digest,
        num_classes=len(events.class_names),
        num_train=len(plan.train_rows),
        num_validation=len(split["validation"]),
        num_test=len(split["test"]),
        num_unused=int(np.count_nonzero(plan.split == NO_SPLIT)),
        num_pool=len(plan.pool_rows),
        num_with_photo=int(np.count_nonzero(plan.photo_row >= 0)),
    )


def plan_pairs(config: PairingConfig, events: FrameStore, images: FrameStore) -> PairPlan:
    """The photos, the split and the static pool. Raises StoreError when a class is left without any of them."""
    num_classes = len(events.class_names)
    split = split_recordings(config, events.sample_id, np.where(events.valid, events.label, -1), num_classes)
    row_of_image = {str(name): row for row, name in enumerate(images.sample_id) if images.valid[row]}
    photo_row = np.array([row_of_image.get(str(name), -1) for name in events.sample_id], np.int64)
    in_pool = images.valid.copy()
    if config.protocol == "disjoint":
        held_out = (split == SPLIT_CODES["validation"]) | (split == SPLIT_CODES["test"])
        in_pool[photo_row[held_out & (photo_row >= 0)]] = False
    if config.pool_share < 1:
        in_pool &= _share_of_pool(config, images, in_pool, num_classes)
    train_rows, train_offsets = rows_by_class(np.flatnonzero(split == SPLIT_CODES["train"]), events.label, num_classes)
    pool_rows, pool_offsets = rows_by_class(np.flatnonzero(in_pool), images.label, num_classes)
    for what, offsets in (("recording to train with", train_offsets), ("photo in the static pool", pool_offsets)):
        empty = [events.class_names[index] for index in np.flatnonzero(np.diff(offsets) == 0)]
        if empty:
            raise StoreError(
                f"pairing {events.path.name} with {images.path.name}: no {what} is left for {', '.join(empty[:5])}"
                f"{' ...' if len(empty) > 5 else ''}; lower the test and validation ratios, or add samples"
            )
    return PairPlan(split, photo_row, train_rows, train_offsets, pool_rows, pool_offsets)


def split_recordings(
    config: PairingConfig, sample_ids: NDArray[np.str_], labels: IntArray, num_classes: int
) -> NDArray[np.int8]:
    """(N,) split codes; recordings with label -1 get none. At least one of a class's recordings is left to train."""
    split = np.full(len(labels), NO_SPLIT, np.int8)
    for label in range(num_classes):
        rows = sorted(np.flatnonzero(labels == label), key=lambda row: _rank(config.seed, str(sample_ids[row])))
        count = len(rows)
        num_test = min(max(1, round(config.test * count)), max(0, count - 1))
        wanted = max(1, round(config.validation * count)) if config.validation else 0
        num_validation = min(wanted, max(0, count - num_test - 1))
        uses_all = config.train + config.validation + config.test > 1 - 1e-9
        remaining = count - num_test - num_validation
        num_train = remaining if uses_all else min(remaining, max(1, round(config.train * count)))
        first = num_test + num_validation
        split[rows[:num_test]] = SPLIT_CODES["test"]
        split[rows[num_test:first]] = SPLIT_CODES["validation"]
        num_used = min(config.train_per_class or num_train, max(1, round(config.train_share * num_train)))
        split[rows[first : first + num_used]] = SPLIT_CODES["train"]
    return split


def _share_of_pool(
    config: PairingConfig, images: FrameStore, in_pool: NDArray[np.bool_], num_classes: int
) -> NDArray[np.bool_]:
    """(M,) whether each image is among the `pool_share` of its class's pool that is used, at least one of a class."""
    used = np.zeros(len(in_pool), np.bool_)
    for label in range(num_classes):
        rows = np.flatnonzero(in_pool & (images.label == label))
        ranked = sorted(rows, key=lambda row: _rank(config.seed, f"pool/{images.sample_id[row]}"))
        used[ranked[: max(1, round(config.pool_share * len(rows)))]] = True
    return used


def _rank(seed: int, sample_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()


def _open(path: Path, kind: str, out: Path) -> FrameStore:
    store = FrameStore(path)
    if store.kind != kind:
        raise StoreError(f"{path}: a store of {store.kind}; expected one of {kind}")
    if path.resolve().parent != out.resolve():
        raise StoreError(f"{path}: the two stores and their pair store must lie in one folder, here {out}")
    return store


def _require_same_classes(events: FrameStore, images: FrameStore) -> None:
    if len(events.class_names) < 2:
        raise StoreError(f"{events.path.name}: has {len(events.class_names)} class; there is nothing to tell apart")
    if events.class_names == images.class_names:
        return
    missing = sorted(set(events.class_names) - set(images.class_names))
    extra = sorted(set(images.class_names) - set(events.class_names))
    raise StoreError(
        f"the classes differ: {events.path.name} has {len(events.class_names)}, {images.path.name} has "
        f"{len(images.class_names)}; without images: {', '.join(missing) or 'none'}; without recordings: "
        f"{', '.join(extra) or 'none'}. Convert both from the same set of classes"
    )


def _require_same_size(events: FrameStore, images: FrameStore) -> None:
    frame, image = (store.array(name).shape[-2:] for store, name in ((events, "frames"), (images, "images")))
    if frame != image:
        raise StoreError(
            f"the sizes differ: frames of {events.path.name} have {frame[1]} x {frame[0]} pixels, images of "
            f"{images.path.name} have {image[1]} x {image[0]}. Convert both to the same size"
        )
