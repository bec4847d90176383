"""One step of training: augmentation, both branches, loss, gradients, update. Nothing here waits for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..batches.augmentation import augment
from ..batches.data import event_frames, static_frames
from ..batches.loading import Batch
from ..network.networks import SpikingNetwork
from .config import TrainConfig
from .distributed import ALONE, Processes
from .losses import LossParts, events_loss, transfer_loss


class StepRecord(NamedTuple):
    """What is kept of a step, float scalars: the loss in parts, the gradient's norm, share named right."""

    static: Tensor
    event: Tensor
    alignment: Tensor
    total: Tensor
    grad_norm: Tensor
    accuracy: Tensor


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """An optimiser's parameter groups: weights decay; what has one dimension does not (timm's rule).

    That is biases, batch norms and the loss coefficients, which decay would pull towards w_t = 1/2.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@dataclass(frozen=True)
class Learner:
    """A network and its optimiser.

    Gradients are averaged over `processes`, each of which steps on its own part of the batch.
    """

    config: TrainConfig
    network: SpikingNetwork
    optimizer: torch.optim.Optimizer
    processes: Processes = ALONE

    def step(self, batch: Batch, sliding_probability: float) -> Tensor:
        """Train on a batch; returns a `StepRecord` stacked to (6,), still on the device."""
        labels = batch.labels
        events = event_frames(augment(batch.frames.float(), batch.augmentation, self.config.augmentation))
        if batch.images is None:
            loss, event_logits = self._classify(events, labels)
        else:
            static = static_frames(batch.images, events, batch.replacement < sliding_probability)
            if self.config.method == "finetune":  # one branch, of images at first and of recordings later
                loss, event_logits = self._classify(static, labels)
                if sliding_probability == 0:
                    loss = loss._replace(static=loss.event, event=loss.static)
            else:
                loss, event_logits = self._transfer(static, events, labels)
        self.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.network.parameters())
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        grad_norm = torch.nn.utils.get_total_norm(gradients)
        self.optimizer.step()
        accuracy = (event_logits.mean(0).argmax(1) == labels).float().mean()
        return torch.stack([part.detach().float() for part in StepRecord(*loss, grad_norm, accuracy)])

    def autocast(self) -> torch.autocast:
        """Where the network runs: in bfloat16 if the configuration says so."""
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(self.network.coefficients.device.type, torch.bfloat16, enabled=enabled)

    def _classify(self, frames: Tensor, labels: Tensor) -> tuple[LossParts, Tensor]:
        with self.autocast():
            logits = self.network(frames, "event")
        logits = logits.float()
        return events_loss(logits, labels, self.config.loss), logits

    def _transfer(self, static: Tensor, events: Tensor, labels: Tensor) -> tuple[LossParts, Tensor]:
        # The static branch goes first: the running statistics of the batch norms see it first.
        with self.autocast():
            static_logits, static_features = self.network.with_features(static, "static")
            event_logits, event_features = self.network.with_features(events, "event")
        event_logits = event_logits.float()
        loss = transfer_loss(
            static_features.float(),
            event_features.float(),
            static_logits.float(),
            event_logits,
            labels,
            self.network.coefficients,
            self.config.loss,
        )
        return loss, event_logits
