"""Networks with one backbone for both domains and a linear head for each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from .config import ModelConfig
from .layers import AveragePool, SpikingConv
from .neurons import LifConstants

Domain = Literal["static", "event"]


class SpikingVGG(nn.Module):
    """VGG-SNN (Deng et al., ICLR 2022) with the two heads of He et al., AAAI 2024.

    Takes frames (T, B, 2, H, W) of either domain. `coefficients` (T,) are the loss's learnable eta_t.
    """

    def __init__(self, config: ModelConfig, *, num_classes: int, num_steps: int, size: int) -> None:
        """`size`: height and width of the frames, pixels. Raises TrainingError when the pools leave no pixel of it."""
        super().__init__()
        pools = config.layers.count("P")
        if size >> pools < 1:
            raise TrainingError(
                f"model.widths: {pools} pools leave nothing of a {size} x {size} frame; "
                f"use fewer pools or frames of at least {1 << pools} pixels"
            )
        constants = LifConstants(config.tau, config.threshold, config.surrogate_alpha)
        self.backbone = nn.ModuleList()
        channels = 2
        for width in config.layers:
            if width == "P":
                self.backbone.append(AveragePool())
            else:
                self.backbone.append(SpikingConv(channels, width, config.batch_norm, constants))
                channels = width
        num_features = channels * (size >> pools) ** 2
        self.static_head = nn.Linear(num_features, num_classes)
        self.event_head = nn.Linear(num_features, num_classes)
        self.coefficients = nn.Parameter(torch.ones(num_steps))
        self._last_block = max(i for i, layer in enumerate(self.backbone) if isinstance(layer, SpikingConv))

    def forward(self, frames: Tensor, domain: Domain) -> Tensor:
        """Logits (T, B, num_classes) of the domain's head."""
        x = frames
        for layer in self.backbone:
            x = layer(x)
        return self._head(domain, x)

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits (T, B, num_classes) and the features to align, the last neurons' membranes after reset (T, B, D)."""
        x, features = frames, frames
        for i, layer in enumerate(self.backbone):
            if i == self._last_block and isinstance(layer, SpikingConv):
                x, features = layer.with_membrane(x)
            else:
                x = layer(x)
        return self._head(domain, x), features.flatten(2)

    def _head(self, domain: Domain, x: Tensor) -> Tensor:
        head = self.static_head if domain == "static" else self.event_head
        logits: Tensor = head(x.flatten(2))
        return logits


def build_network(config: ModelConfig, *, num_classes: int, num_steps: int, size: int, seed: int) -> SpikingVGG:
    """The network that `config` names, with the initial weights of `seed`; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SpikingVGG(config, num_classes=num_classes, num_steps=num_steps, size=size)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def num_parameters(network: nn.Module) -> int:
    """Learnable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
