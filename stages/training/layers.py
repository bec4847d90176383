"""The parts of a spiking network. Tensors are (T, B, C, H, W); a layer sees all time steps before the next one does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .neurons import LifConstants, lif, lif_with_membrane


class BatchNormOverTime(nn.Module):
    """Batch norm of (T, B, C, H, W) with one set of weights and running statistics for all steps.

    "per_step": step t is normalised with the statistics of its own B images, and the running statistics are updated
    T times, in the order of time. "merged": one set of statistics over all T * B images, one update.
    In evaluation mode both are the same.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, mode: Literal["per_step", "merged"]) -> None:
        super().__init__()
        self.mode = mode
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.mode == "per_step":
            # One call of torch's kernel for each step: faster than a vectorised var_mean, which reads x more often.
            return torch.stack([self._normalize(step) for step in x])
        return _over_time(self._normalize(x.flatten(0, 1)), x)

    def _normalize(self, images: Tensor) -> Tensor:
        return F.batch_norm(images, self.running_mean, self.running_var, self.weight, self.bias, self.training)


class SpikingConv(nn.Module):
    """3x3 convolution, batch norm over time, LIF: (T, B, C_in, H, W) to (T, B, C_out, H, W)."""

    def __init__(
        self, in_channels: int, out_channels: int, mode: Literal["per_step", "merged"], constants: LifConstants
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = BatchNormOverTime(out_channels, mode)
        self.constants = constants

    def forward(self, x: Tensor) -> Tensor:
        """The spikes."""
        return lif(self._current(x), self.constants)

    def with_membrane(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The spikes and the membrane potentials after reset."""
        return lif_with_membrane(self._current(x), self.constants)

    def _current(self, x: Tensor) -> Tensor:
        current: Tensor = self.norm(_over_time(self.conv(x.flatten(0, 1)), x))
        return current


class AveragePool(nn.Module):
    """Halves height and width of (T, B, C, H, W) by averaging; an odd last row or column falls off."""

    def forward(self, x: Tensor) -> Tensor:
        return _over_time(F.avg_pool2d(x.flatten(0, 1), 2), x)


def _over_time(images: Tensor, like: Tensor) -> Tensor:
    """Images (T * B, C, H, W) as (T, B, C, H, W), with T and B of `like`."""
    return images.view(*like.shape[:2], *images.shape[1:])
