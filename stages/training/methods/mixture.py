"""Photos as further recordings: a share of each batch is photos, the rest recordings, and one head names both."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from ....cache.documents import Frozen
from ....cache.errors import TrainingError
from ..config import TrainConfig
from ..losses import LossParts, classification_loss
from ..sliding import Constant, SlidingStrategy
from . import Method, MixedPrecision, Shown, options_of


class MixtureOptions(Frozen):
    share: float = Field(0.5, gt=0, le=1, description="photos in a batch, to whole ones; 1: no recording is shown")


class Mixture(Method):
    """No alignment, no sliding: the prototype that transfer is to be measured against."""

    photo_head = "event"
    Options = MixtureOptions

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.options = cast(MixtureOptions, options_of(config))
        # Else labelled recordings decide which photos are shown: by how many a class has, or by whose they are.
        draws_alike = config.sampling == "balanced" and config.pairing == "class"
        self.uses_labels = self.options.share < 1 or not draws_alike
        self._num_photos(config.batch_size, f"train.batch_size = {config.batch_size}")
        if config.sampling == "sequential":
            raise TrainingError(
                "train.method = mixture shows photos in the first places of each batch, so that with train.sampling = "
                "sequential some recordings would never be shown: use balanced or shuffled"
            )

    def sliding(self) -> SlidingStrategy:
        """No photo is replaced."""
        return Constant(0.0)

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        num_steps, batch_size = shown.events.shape[:2]
        of = f"a process's {batch_size} of train.batch_size = {self.config.batch_size}"
        count = self._num_photos(batch_size, of)
        whole = self._num_photos(self.config.batch_size, "the batch")
        if count * self.config.batch_size != whole * batch_size:
            raise TrainingError(
                f"train.options.share = {self.options.share:g} of {of} is {count} photos, of the whole batch {whole}: "
                "another share; take a number of processes, or a batch size, with which both are the same"
            )
        photos = shown.photos(count)
        frames = torch.cat([photos.expand(num_steps, -1, *shown.events.shape[2:]), shown.events[:, count:]], dim=1)
        logits = network.logits(frames, "event")
        parts = []
        for part in (slice(0, count), slice(count, batch_size)):
            size = len(shown.labels[part])
            of_part = (
                classification_loss(logits[:, part], shown.labels[part], self.config.loss)
                if size
                else logits.new_zeros(())
            )
            parts.append(of_part * (size / batch_size))
        static, event = parts
        return LossParts(static, event, torch.zeros_like(event), static + event), logits

    def _num_photos(self, batch_size: int, of: str) -> int:
        """Of so many places. Raises TrainingError where photos or recordings would have none."""
        count = round(self.options.share * batch_size)
        if count == 0 or (count == batch_size and self.options.share < 1):
            raise TrainingError(
                f"train.options.share = {self.options.share:g} of {of} is {count} photos: a batch needs photos, and "
                "recordings unless the share is 1"
            )
        return count
