"""A split divided among processes: each reads the shards that are its own, and draws its share of a batch from them.

The shards that hold training recordings are dealt out in turns (a store lies class by class), and so are those of the
static pool. Of these a process needs images of its recordings' classes alone; where its own shards have none of a
class, it also reads one other shard. Where recordings meet their own photos, it needs these, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from .data import Encoding, IntArray, read_static
from .loading import Batch, Loader, load
from .sampling import DrawConfig, Draws, EpochPlan, Sampler

_ROUNDS = 1000  # of fitting the shares of classes
_TOLD = 0.01  # relative difference from the share that a class should have


@dataclass(frozen=True)
class SplitPart:
    """Some recordings of a split, and some images of its static pool.

    rows (n,), images (m,): theirs in the split and in the pool, ascending.  split: these, as if they were all.
    """

    rows: IntArray
    images: IntArray
    split: PairedCache

    @classmethod
    def of(cls, whole: PairedCache, rows: IntArray, images: IntArray) -> SplitPart:
        split = PairedCache(whole.pairs, whole.split)
        split.rows, split.pool_rows = whole.rows[rows], whole.pool_rows[images]
        split.image_labels = whole.image_labels[images]
        return cls(rows, images, split)


def shards_of_recordings(split: PairedCache) -> IntArray:
    """(n,) the shard of each recording of a split, counted among those that hold any of them."""
    return _counted(split.rows // split.pairs.events.attributes.samples_per_shard)


def divide(split: PairedCache, config: DrawConfig, count: int, encoding: Encoding | None) -> list[SplitPart]:
    """The part of each of `count` processes; encoding: of the images, None where none are shown.

    Raises TrainingError: fewer shards than processes.
    """
    shards = shards_of_recordings(split)
    num_shards = int(shards.max()) + 1
    if num_shards < count:
        raise TrainingError(
            f"train.data_placement = sharded: the training recordings lie in {num_shards} shards, and {count} "
            f"processes want one each: start at most {num_shards}, or convert with a smaller "
            "conversion.samples_per_shard"
        )
    parts = [np.flatnonzero(shards % count == rank) for rank in range(count)]
    if encoding is None:
        return [SplitPart.of(split, rows, np.zeros(0, np.int64)) for rows in parts]
    store = split.pairs.recorded if encoding == "recorded" else split.pairs.images
    assert store is not None
    pool_shards = _counted(split.pool_rows // store.attributes.samples_per_shard)
    return [
        SplitPart.of(split, rows, _images_for(split, rows, config.pairing, pool_shards, pool_shards % count == rank))
        for rank, rows in enumerate(parts)
    ]


def _counted(shards: IntArray) -> IntArray:
    return np.unique(shards, return_inverse=True)[1].astype(np.int64)


def _images_for(
    split: PairedCache, rows: IntArray, pairing: str, pool_shards: IntArray, is_own: NDArray[np.bool_]
) -> IntArray:
    """Rows of the static pool that the recordings `rows` may meet. is_own (m,): whether an image is in a shard of this
    process."""
    photos = split.photo[rows] if pairing == "instance" else np.full(len(rows), -1, np.int64)
    wanted = np.unique(split.event_labels[rows[photos < 0]])  # classes that a random image is drawn of
    held = np.union1d(photos[photos >= 0], np.flatnonzero(is_own & np.isin(split.image_labels, wanted)))
    read = set(pool_shards[held].tolist())
    more = [held]
    for label in np.setdiff1d(wanted, split.image_labels[held]):
        of_class = np.flatnonzero(split.image_labels == label)
        counts = np.bincount(pool_shards[of_class])
        shard = max(np.flatnonzero(counts).tolist(), key=lambda at: (at in read, counts[at], -at))
        read.add(shard)
        more.append(of_class[pool_shards[of_class] == shard])
    return np.unique(np.concatenate(more)).astype(np.int64)


def class_shares(counts: IntArray) -> NDArray[np.float64]:
    """(P, C) how likely each process draws each class, so that together all classes come equally often.

    counts (P, C): recordings. Each row sums to 1, and each column to P / C as nearly as can be; within a class the
    processes share as their recordings do, as nearly as that lets them (iterative proportional fitting).
    """
    present = counts.sum(0) > 0
    shares = counts[:, present] / counts.sum(1, keepdims=True)
    for _ in range(_ROUNDS):
        before = shares
        shares = shares * (len(counts) / present.sum() / shares.sum(0))
        shares = shares / shares.sum(1, keepdims=True)
        if np.abs(shares - before).max() < 1e-12:
            break
    whole = np.zeros(counts.shape)
    whole[:, present] = shares
    return whole


class ShardedSampler(Sampler):
    """Plans of an epoch that are those of the processes side by side: each draws from its part, from a stream of its
    own. An epoch has as many steps as with a whole split."""

    def __init__(self, split: PairedCache, config: DrawConfig, count: int, encoding: Encoding | None) -> None:
        """Raises TrainingError, also where there are fewer shards than processes."""
        super().__init__(split, config, uses_images=encoding is not None)
        self.parts = divide(split, config, count, encoding)
        counts = np.stack([np.bincount(part.split.event_labels, minlength=split.num_classes) for part in self.parts])
        self.shares = class_shares(counts)
        size = self.batch_size // count
        self._draws = [
            Draws(
                part.split, config, self.num_steps, size, uses_images=self.uses_images, key=(rank, count), shares=shares
            )
            for rank, (part, shares) in enumerate(zip(self.parts, self.shares, strict=True))
        ]
        self.note = "; ".join(filter(None, [self._described(), self.note]))

    def plan(self, epoch: int) -> EpochPlan:
        plans = []
        for part, draws in zip(self.parts, self._draws, strict=True):
            plan = draws.plan(epoch)
            images = torch.from_numpy(part.images)[plan.images] if self.uses_images else plan.images
            plans.append(replace(plan, recordings=torch.from_numpy(part.rows)[plan.recordings], images=images))
        names = vars(plans[0])
        return EpochPlan(*(torch.cat([getattr(plan, name) for plan in plans], dim=1) for name in names))

    def _described(self) -> str:
        sizes = [len(part.rows) for part in self.parts]
        text = (
            f"train.data_placement = sharded: each of {len(sizes)} processes reads shards of its own, {min(sizes):,} "
            f"to {max(sizes):,} recordings"
        )
        if self.uses_images:
            images = [len(part.images) for part in self.parts]
            text += f", and {min(images):,} to {max(images):,} images"
        if self.config.sampling != "balanced":
            return text
        drawn = self.shares.sum(0)[self.shares.any(0)] * self.shares.any(0).sum() / len(sizes)
        if np.abs(drawn - 1).max() > _TOLD:
            text += (
                f"; some hold so few classes that these are not drawn equally often, but {drawn.min():.2f} to "
                f"{drawn.max():.2f} times as often"
            )
        return text


@dataclass(frozen=True)
class PartLoader:
    """A process's part on its device, in its memory or in its store, for plans that name rows of the whole split."""

    whole: PairedCache
    part: SplitPart
    held: Loader
    encoding: Encoding | None
    placement: str = "sharded"

    @classmethod
    def of(cls, whole: PairedCache, part: SplitPart, device: torch.device, encoding: Encoding | None) -> PartLoader:
        return cls(whole, part, load(part.split, device, "auto", encoding), encoding)

    @property
    def labels(self) -> Tensor:
        return self.held.labels

    @property
    def num_images(self) -> int:
        return self.held.num_images

    def __len__(self) -> int:
        return len(self.held)

    def batches(self, plan: EpochPlan, first_step: int = 0) -> Generator[Batch]:
        """Of this process's part of a plan."""
        recordings, images = _positions(self.part.rows, plan.recordings), plan.images
        if self.encoding is not None:
            images = _positions(self.part.images, images)
        return self.held.batches(replace(plan, recordings=recordings, images=images), first_step)

    def in_order(self, batch_size: int) -> Generator[Tensor]:
        return self.held.in_order(batch_size)

    def photos(self, rows: IntArray) -> Tensor:
        """Any images of the static pool, read from its store and not kept."""
        assert self.encoding is not None
        return torch.from_numpy(read_static(self.whole, self.encoding, rows)).to(self.labels.device)


def _positions(rows: IntArray, wanted: Tensor) -> Tensor:
    """Where rows stand among `rows`, which are ascending and hold them all."""
    return torch.from_numpy(np.searchsorted(rows, wanted.numpy()))
