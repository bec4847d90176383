"""Which recordings, static images and random numbers each step of an epoch uses.

A plan follows from the seed and the epoch alone: every method trains on the same batches under a seed, and a resumed
run needs no generator's state. Each kind of draw has a stream of its own, so using one does not shift another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache

IntArray = NDArray[np.int64]

NUM_DRAWS = 4  # of the augmentation of a recording: row shift, column shift, flip, angle
_RECORDINGS, _PARTNERS, _REPLACEMENT, _AUGMENTATION, _SEEDS = range(5)
_UNLABELLED, _UNLABELLED_AUGMENTATION, _UNLABELLED_SEEDS = range(5, 8)
_MAX_LONELY = 0.05  # of the recordings, without their own photo under train.pairing = instance


class DrawConfig(Protocol):
    """What the draws depend on, of the configuration of training."""

    @property
    def seed(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def epoch_steps(self) -> int | None: ...
    @property
    def sampling(self) -> str: ...
    @property
    def pairing(self) -> str: ...


@dataclass(frozen=True)
class EpochPlan:
    """The draws of an epoch of L steps of B recordings.

    recordings (L, B): rows of the split.  images (L, B): rows of the static pool, each of its recording's class.
    replacement (L, B), augmentation (L, B, 4): uniform in [0, 1), float32.  seeds (L, B): int64, of what is drawn on
    the device, from the first one of a batch; always on the CPU.
    """

    recordings: Tensor
    images: Tensor
    replacement: Tensor
    augmentation: Tensor
    seeds: Tensor

    def __len__(self) -> int:
        return len(self.recordings)

    def draws(self, step: int) -> tuple[Tensor, Tensor, int]:
        """Of a step: replacement (B,), augmentation (B, 4), and the seed of its batch."""
        return self.replacement[step], self.augmentation[step], int(self.seeds[step, 0])

    def to(self, device: torch.device) -> EpochPlan:
        return EpochPlan(
            self.recordings.to(device),
            self.images.to(device),
            self.replacement.to(device),
            self.augmentation.to(device),
            self.seeds,
        )


class Draws:
    """Draws plans of `num_steps` steps of `batch_size` recordings.

    key: numbers beside seed, epoch and kind of draw that the random numbers follow from.  shares (C,): how likely each
    class is, where recordings are balanced; None: all that are there alike.
    """

    def __init__(
        self,
        split: PairedCache,
        config: DrawConfig,
        num_steps: int,
        batch_size: int,
        *,
        uses_images: bool,
        key: tuple[int, ...] = (),
        shares: NDArray[np.float64] | None = None,
    ) -> None:
        self.config = config
        self.uses_images = uses_images
        self.labels: IntArray = split.event_labels
        self.num_steps, self.batch_size = num_steps, batch_size
        self.by_class = _RowsByClass(split.event_labels, split.num_classes)
        self.images_by_class = _RowsByClass(split.image_labels, split.num_classes)
        self.photo: IntArray = split.photo
        self._key, self._shares = key, shares

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of `epoch`, counted from 0."""
        shape = (self.num_steps, self.batch_size)
        recordings = self._recordings(epoch, shape[0] * shape[1])
        images = self._images(epoch, recordings)
        replacement = self._stream(epoch, _REPLACEMENT).random(shape, np.float32)
        augmentation = self._stream(epoch, _AUGMENTATION).random((*shape, NUM_DRAWS), np.float32)
        return EpochPlan(
            torch.from_numpy(recordings.reshape(shape)),
            torch.from_numpy(images.reshape(shape)),
            torch.from_numpy(replacement),
            torch.from_numpy(augmentation),
            torch.from_numpy(self._stream(epoch, _SEEDS).integers(2**63, size=shape)),
        )

    def _recordings(self, epoch: int, count: int) -> IntArray:
        rng = self._stream(epoch, _RECORDINGS)
        if self.config.sampling == "balanced":
            classes = self._classes(rng, count)
            return self.by_class.pick(classes, rng.random(count))
        passes = -(-count // len(self.labels))
        if self.config.sampling == "shuffled":
            return np.concatenate([rng.permutation(len(self.labels)) for _ in range(passes)])[:count]
        return np.arange(count) % len(self.labels)

    def _classes(self, rng: np.random.Generator, count: int) -> IntArray:
        """The classes of recordings that are balanced."""
        if self._shares is not None:
            return rng.choice(len(self._shares), size=count, p=self._shares)
        present = np.flatnonzero(self.by_class.counts)
        return present[rng.integers(len(present), size=count)]

    def _images(self, epoch: int, recordings: IntArray) -> IntArray:
        if not self.uses_images:
            return np.zeros_like(recordings)
        draws = self._stream(epoch, _PARTNERS).random(len(recordings))
        if self.config.pairing == "class":
            return self.images_by_class.pick(self.labels[recordings], draws)
        images = self.photo[recordings]
        lonely = images < 0
        images[lonely] = self.images_by_class.pick(self.labels[recordings[lonely]], draws[lonely])
        return images

    def _stream(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, epoch, stream, *self._key])


class Sampler(Draws):
    """Draws the epochs' plans for one split and configuration."""

    def __init__(self, split: PairedCache, config: DrawConfig, *, uses_images: bool = True) -> None:
        """Raises TrainingError: fewer recordings than a batch, or recordings without the image they are to meet."""
        if len(split) < config.batch_size and config.epoch_steps is None:
            raise TrainingError(
                f"the training split has {len(split)} recordings, fewer than one batch: set train.batch_size to at "
                f"most {len(split)} (found {config.batch_size}), or say with train.epoch_steps how many steps make an "
                "epoch, and recordings are drawn again"
            )
        num_steps = config.epoch_steps or len(split) // config.batch_size
        super().__init__(split, config, num_steps, config.batch_size, uses_images=uses_images)
        self.note = ""  # what is to be told before training
        if uses_images:
            self._check_partners(split)

    def unlabelled(self, epoch: int, num_recordings: int, shape: tuple[int, int]) -> EpochPlan:
        """The draws of L steps of B of `num_recordings` without labels: each as often, in random order."""
        count = shape[0] * shape[1]
        rng, passes = self._stream(epoch, _UNLABELLED), -(-count // num_recordings)
        recordings = np.concatenate([rng.permutation(num_recordings) for _ in range(passes)])[:count].reshape(shape)
        augmentation = self._stream(epoch, _UNLABELLED_AUGMENTATION).random((*shape, NUM_DRAWS), np.float32)
        return EpochPlan(
            torch.from_numpy(recordings),
            torch.zeros(shape, dtype=torch.int64),
            torch.zeros(shape),
            torch.from_numpy(augmentation),
            torch.from_numpy(self._stream(epoch, _UNLABELLED_SEEDS).integers(2**63, size=shape)),
        )

    def _check_partners(self, split: PairedCache) -> None:
        missing = np.flatnonzero((self.by_class.counts > 0) & (self.images_by_class.counts == 0))
        if len(missing):
            names = ", ".join(split.class_names[label] for label in missing[:10])
            raise TrainingError(
                f"{len(missing)} classes have training recordings but no static image ({names}): "
                f"add images, or use train.method = events"
            )
        lonely = np.flatnonzero(self.photo < 0)
        if self.config.pairing == "class" or not len(lonely):
            return
        if len(lonely) > _MAX_LONELY * len(split):
            raise TrainingError(
                f"train.pairing = instance needs the training recordings' own photos in the static pool; "
                f"{len(lonely)} of {len(split)} have none (the first is {split.sample_ids[lonely[0]]}), more than "
                f"{_MAX_LONELY:.0%}: use train.pairing = class"
            )
        self.note = (
            f"train.pairing = instance: {len(lonely)} of {len(split)} training recordings have no photo of their own "
            "in the static pool and meet a random image of their class"
        )


class _RowsByClass:
    """Rows grouped by class, to draw one of a class uniformly."""

    def __init__(self, labels: IntArray, num_classes: int) -> None:
        self.rows = np.argsort(labels, kind="stable")
        self.counts = np.bincount(labels, minlength=num_classes)
        self.first = np.cumsum(self.counts) - self.counts

    def pick(self, classes: IntArray, draws: NDArray[np.float64]) -> IntArray:
        """One row of each of `classes` (n,), which have rows, from uniform draws (n,) in [0, 1)."""
        position = (draws * self.counts[classes]).astype(np.int64)
        picked: IntArray = self.rows[self.first[classes] + position]
        return picked
