"""Small networks of spikingjelly and Lightning, which are not among the requirements: import this where they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def make_spikingjelly_network(num_classes: int) -> nn.Module:
    """Of its layers and neurons, in multi-step mode: (T, N, 2, H, W) to (T, N, classes) spikes."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def make_neuron() -> nn.Module:
        return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True)

    network = nn.Sequential(
        *(layer.Conv2d(2, 8, 3, padding=1), layer.BatchNorm2d(8), make_neuron(), layer.AdaptiveAvgPool2d(4)),
        *(layer.Flatten(), layer.Linear(8 * 16, 10 * num_classes), make_neuron(), layer.VotingLayer(10)),
    )
    functional.set_step_mode(network, "m")
    return network


def make_lightning_module(num_classes: int) -> Any:
    """A `LightningModule` on the mean frame, which keeps the targets that each stage saw, and the loss of each step."""
    from lightning import LightningModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(
                *(nn.BatchNorm2d(2), nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4)),
                *(nn.Flatten(), nn.Linear(8 * 16, num_classes)),
            )
            self.seen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
            self.losses: list[float] = []

        def forward(self, events: Tensor) -> Tensor:
            scores: Tensor = self.network(events.mean(1))
            return scores

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            events, targets = batch
            loss = cross_entropy(self(events), targets)
            self.seen["train"] += targets.tolist()
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
            self.seen["validation"] += batch[1].tolist()

        def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
            self.seen["test"] += batch[1].tolist()
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean(), batch_size=len(batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.02)

    return Module()
