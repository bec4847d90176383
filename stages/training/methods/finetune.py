"""Fine-tuning: images alone at first, then recordings alone, through one head."""

from __future__ import annotations

from torch import Tensor

from ..losses import LossParts, events_loss
from ..sliding import SlidingStrategy, Step
from . import Method, MixedPrecision, Shown


class Finetune(Method):
    """Sliding in one step, from no image replaced to all; each phase has an optimiser and a schedule of its own."""

    photo_head = "event"

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        logits = network.logits(shown.static(), "event")
        loss = events_loss(logits, shown.labels, self.config.loss)
        if shown.probability == 0:  # of images
            loss = loss._replace(static=loss.event, event=loss.static)
        return loss, logits

    def sliding(self) -> SlidingStrategy:
        return Step(self.config.epochs, self.config.num_pretrain_epochs)

    def phases(self) -> tuple[range, ...]:
        return (
            range(self.config.num_pretrain_epochs),
            range(self.config.num_pretrain_epochs, self.config.epochs),
        )
