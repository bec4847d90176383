"""Knowledge transfer from images (He et al., AAAI 2024): both branches see a step, and their features are aligned."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ....cache.pairs import Reach
from ..config import TrainConfig
from ..losses import LossParts, transfer_loss
from . import Method, MixedPrecision, Shown


class Branches(NamedTuple):
    """What became of both branches: the loss, logits (T, B, C) of recordings, and of the static branch (T, B, ...)."""

    loss: LossParts
    logits: Tensor
    static_logits: Tensor
    static_features: Tensor


class Transfer(Method):
    """The static branch is shown images, which recordings replace more and more often; the event branch recordings.

    With `heads = 1` both branches are named by the event head, and share its batch statistics.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.photo_head = "static" if config.heads == 2 else "event"

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        branches = self.branches(network, shown.static(), shown)
        return branches.loss, branches.logits

    def branches(self, network: MixedPrecision, static: Tensor, shown: Shown) -> Branches:
        """Both branches and their loss; static (T, B, 2, H, W): what the static branch is shown."""
        # The static branch goes first: the running statistics of the batch norms see it first.
        with network.autocast():  # of both at once, so that a weight is converted once
            static_logits, static_features = network.with_features(static, self.photo_head)
            event_logits, event_features = network.with_features(shown.events, "event")
        loss = transfer_loss(
            static_features,
            event_features,
            static_logits,
            event_logits,
            shown.labels,
            network.coefficients,
            self.config.loss,
        )
        return Branches(loss, event_logits, static_logits, static_features)

    def uses_coefficients(self) -> bool:
        return self.config.loss.regularization == "learned"

    def shown_photos(self, in_pool: Reach) -> Reach:
        return "none" if self.config.sliding == "events" else in_pool
