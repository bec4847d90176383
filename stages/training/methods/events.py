"""The recordings alone: the TET baseline (Deng et al., ICLR 2022)."""

from __future__ import annotations

from torch import Tensor

from ..losses import LossParts, events_loss
from . import Method, MixedPrecision, Shown


class Events(Method):
    uses_images = False
    photo_head = "event"

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        logits = network.logits(shown.events, "event")
        return events_loss(logits, shown.labels, self.config.loss), logits
