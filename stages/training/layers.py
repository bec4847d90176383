"""The parts of a spiking network. Tensors are (T, B, C, H, W); a layer sees all time steps before the next one does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import compiled
from .neurons import LifConstants, spike

BatchNormMode = Literal["per_step", "merged"]

# Batch norm's, as in torch: weight of new statistics in the running ones, and what is added to variances.
MOMENTUM = 0.1
EPSILON = 1e-5


class BatchNormOverTime(nn.Module):
    """Batch norm of (T, B, C, H, W) with one set of weights and running statistics for all steps.

    "per_step": step t is normalised with the statistics of its own B images, and the running statistics are updated
    T times, in the order of time. "merged": one set of statistics over all T * B images, one update.
    In evaluation mode both are the same.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, mode: BatchNormMode) -> None:
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

    def then_lif(self, x: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
        """Spikes, and membranes after reset where wanted, of neurons whose current is the normalised x.

        In one operation where there is one: what lies between norm and neuron is then neither written nor kept.
        """
        if not compiled.supports(x):
            return spike(self(x), constants, want_membrane)
        if self.training:
            mean, variance = compiled.statistics(x, merged=self.mode == "merged")
            count = x.numel() // (len(mean) * x.shape[2])
            for mean_of_step, variance_of_step in zip(mean, variance * (count / max(count - 1, 1)), strict=True):
                self.running_mean.lerp_(mean_of_step, MOMENTUM)
                self.running_var.lerp_(variance_of_step, MOMENTUM)
        else:
            mean, variance = self.running_mean[None], self.running_var[None]
        rstd = (variance + EPSILON).rsqrt()
        return compiled.norm_lif(x, self.weight, self.bias, mean, rstd, self.training, constants, want_membrane)

    def _normalize(self, images: Tensor) -> Tensor:
        running = self.running_mean, self.running_var
        return F.batch_norm(images, *running, self.weight, self.bias, self.training, MOMENTUM, EPSILON)


class Neurons(nn.Module):
    """A layer of LIF neurons, with the batch norm before it where there is one: (T, B, ...) to spikes like it."""

    def __init__(self, constants: LifConstants) -> None:
        super().__init__()
        self.constants = constants

    def forward(self, x: Tensor, norm: BatchNormOverTime | None = None) -> Tensor:
        """The spikes; x is the current, or what `norm` makes it of."""
        return self._spike(x, norm, want_membrane=False)[0]

    def with_membrane(self, x: Tensor, norm: BatchNormOverTime | None = None) -> tuple[Tensor, Tensor]:
        """The spikes and the membrane potentials after reset."""
        spikes, membrane = self._spike(x, norm, want_membrane=True)
        assert membrane is not None
        return spikes, membrane

    def _spike(self, x: Tensor, norm: BatchNormOverTime | None, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and not compiled.supports(x):
            x = x.float()  # of autocast; statistics and membranes are float32
        if norm is None:
            return spike(x, self.constants, want_membrane)
        return norm.then_lif(x, self.constants, want_membrane)


class SpikingConv(nn.Module):
    """Convolution, batch norm over time (none with mode None), LIF: (T, B, C_in, H, W) to (T, B, C_out, H', W')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mode: BatchNormMode | None,
        constants: LifConstants,
        *,
        kernel_size: int = 3,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.norm = None if mode is None else BatchNormOverTime(out_channels, mode)
        self.neurons = Neurons(constants)

    def forward(self, x: Tensor) -> Tensor:
        """The spikes."""
        spikes: Tensor = self.neurons(self._convolve(x), self.norm)
        return spikes

    def with_membrane(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The spikes and the membrane potentials after reset."""
        return self.neurons.with_membrane(self._convolve(x), self.norm)

    def _convolve(self, x: Tensor) -> Tensor:
        return _over_time(self.conv(x.flatten(0, 1)), x)


class SpikingLinear(nn.Module):
    """Linear, LIF: (T, B, ...) to (T, B, out_features)."""

    def __init__(self, in_features: int, out_features: int, constants: LifConstants) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.neurons = Neurons(constants)

    def forward(self, x: Tensor) -> Tensor:
        """The spikes."""
        spikes: Tensor = self.neurons(self.linear(x.flatten(2)))
        return spikes

    def with_membrane(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The spikes and the membrane potentials after reset."""
        return self.neurons.with_membrane(self.linear(x.flatten(2)))


class PreActivationConv(nn.Module):
    """Batch norm over time, LIF, convolution: (T, B, C_in, H, W) to (T, B, C_out, H / stride, W / stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mode: BatchNormMode,
        constants: LifConstants,
        *,
        kernel_size: int = 3,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.norm = BatchNormOverTime(in_channels, mode)
        # A 1x1 convolution with a stride sees every stride-th pixel alone, so they are taken beforehand: the backward
        # pass of torch 2.13's own on the CPU writes outside its memory for 8 or 24 channels and the like.
        self.every = stride if kernel_size == 1 else 1
        conv_stride = 1 if kernel_size == 1 else stride
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, conv_stride, kernel_size // 2, bias=False)
        self.neurons = Neurons(constants)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neurons(x, self.norm)[..., :: self.every, :: self.every]
        return _over_time(self.conv(spikes.flatten(0, 1)), x)


class ResidualBlock(nn.Module):
    """Two pre-activated convolutions beside a shortcut, which is one of 1x1 where the shape changes."""

    def __init__(
        self, in_channels: int, out_channels: int, mode: BatchNormMode, constants: LifConstants, stride: int
    ) -> None:
        super().__init__()
        self.first = PreActivationConv(in_channels, out_channels, mode, constants, stride=stride)
        self.second = PreActivationConv(out_channels, out_channels, mode, constants)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = PreActivationConv(in_channels, out_channels, mode, constants, kernel_size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)) + self.shortcut(x)
        return out


class AveragePool(nn.Module):
    """Halves height and width of (T, B, C, H, W) by averaging; an odd last row or column falls off."""

    def forward(self, x: Tensor) -> Tensor:
        return _over_time(F.avg_pool2d(x.flatten(0, 1), 2), x)


def _over_time(images: Tensor, like: Tensor) -> Tensor:
    """Images (T * B, C, H, W) as (T, B, C, H, W), with T and B of `like`."""
    return images.view(*like.shape[:2], *images.shape[1:])
