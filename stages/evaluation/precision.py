"""The number formats that a trained network can be evaluated in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..network.networks import SpikingNetwork
from .config import Precision
from .int8 import Int8Network


def in_precision(network: SpikingNetwork, precision: Precision) -> nn.Module:
    """The network as evaluation calls it, computing in `precision`; logits are float32 in all.

    Raises TrainingError where the network or the machine cannot do int8.
    """
    if precision == "int8":
        return Int8Network(network)
    return _Autocast(network) if precision == "bfloat16" else network


class _Autocast(nn.Module):
    """Convolutions and heads in bfloat16, everything else in float32, as in training."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Tensor:
        with torch.autocast(self.network.coefficients.device.type, torch.bfloat16):
            logits: Tensor = self.network(*inputs)
        return logits.float()
