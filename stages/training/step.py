"""One step of training: batch, both branches, loss, gradients, update. Nothing here waits for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .augmentation import augment
from .config import TrainConfig
from .data import EventData, event_frames, static_frames
from .losses import LossParts, events_loss, transfer_loss
from .networks import SpikingVGG
from .sampling import EpochPlan


class StepRecord(NamedTuple):
    """What is kept of a step, float scalars: the loss in parts, the gradient's norm, recordings classified right."""

    static: Tensor
    event: Tensor
    alignment: Tensor
    total: Tensor
    grad_norm: Tensor
    num_correct: Tensor


@dataclass(frozen=True)
class Learner:
    """A network, its optimiser and the training data on its device. `images`: (m, 1, H, W); None without transfer."""

    config: TrainConfig
    network: SpikingVGG
    optimizer: torch.optim.Optimizer
    events: EventData
    images: Tensor | None

    def step(self, plan: EpochPlan, step: int, sliding_probability: float) -> Tensor:
        """Train on batch `step` of the plan; returns a `StepRecord` stacked to (6,), still on the device."""
        rows = plan.recordings[step]
        labels = self.events.labels[rows]
        events = event_frames(augment(self.events.batch(rows), plan.augmentation[step], self.config.augmentation))
        if self.images is None:
            event_logits = self.network(events, "event")
            loss = events_loss(event_logits, labels, self.config.loss)
        else:
            replaced = plan.replacement[step] < sliding_probability
            static = static_frames(self.images[plan.images[step]], events, replaced)
            loss, event_logits = self._transfer(static, events, labels)
        self.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        grad_norm = torch.nn.utils.get_total_norm(gradients)
        self.optimizer.step()
        num_correct = (event_logits.mean(0).argmax(1) == labels).sum()
        return torch.stack([part.detach().float() for part in StepRecord(*loss, grad_norm, num_correct)])

    def _transfer(self, static: Tensor, events: Tensor, labels: Tensor) -> tuple[LossParts, Tensor]:
        # The static branch goes first: the running statistics of the batch norms see it first.
        static_logits, static_features = self.network.with_features(static, "static")
        event_logits, event_features = self.network.with_features(events, "event")
        loss = transfer_loss(
            static_features,
            event_features,
            static_logits,
            event_logits,
            labels,
            self.network.coefficients,
            self.config.loss,
        )
        return loss, event_logits
