"""The parts of a spiking network. Tensors are (T, B, C, H, W); a layer sees all time steps before the next one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from . import compiled
from .config import BatchNormMode, RunningStatistics
from .lif import LifConstants
from .neurons import implementation_for, spike

Domain = Literal["static", "event"]

# Batch norm's, as in torch: weight of new statistics in the running ones, and what is added to variances.
MOMENTUM = 0.1
EPSILON = 1e-5


class BatchNormOverTime(nn.Module):
    """Batch norm of (T, B, C, H, W) with one set of weights for both domains, and of running statistics for all steps.

    "per_step": step t is normalised with the statistics of its own B images, and the running statistics are updated
    T times, in the order of time. "merged": one set of statistics over all T * B images, one update.
    In evaluation mode both are the same.

    "shared": both branches update one set of running statistics, and are normalised with it in evaluation (as
    released). "per_domain": each has its own (Li et al., "Revisiting batch normalization for practical domain
    adaptation", 2016); the static branch's are those of what it is shown, under sliding more and more recordings.
    In training mode both are the same.
    """

    running_mean: Tensor
    running_var: Tensor
    static_running_mean: Tensor
    static_running_var: Tensor

    def __init__(self, num_channels: int, mode: BatchNormMode, statistics: RunningStatistics) -> None:
        super().__init__()
        self.mode = mode
        self.statistics = statistics
        self.momentum = MOMENTUM
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        for prefix in ("", "static_") if statistics == "per_domain" else ("",):
            self.register_buffer(f"{prefix}running_mean", torch.zeros(num_channels))
            self.register_buffer(f"{prefix}running_var", torch.ones(num_channels))

    def running(self, domain: Domain) -> tuple[Tensor, Tensor]:
        """Running mean and variance (C,) of a domain; shared ones are the events'."""
        if domain == "static" and self.statistics == "per_domain":
            return self.static_running_mean, self.static_running_var
        return self.running_mean, self.running_var

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        if self.training and self.mode == "per_step":
            # One call of torch's kernel for each step: faster than a vectorised var_mean, which reads x more often.
            return torch.stack([self._normalize(step, domain) for step in x])
        return _over_time(self._normalize(x.flatten(0, 1), domain), x)

    def then_lif(
        self, x: Tensor, domain: Domain, constants: LifConstants, want_membrane: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Spikes, and membranes after reset where wanted, of neurons whose current is the normalised x.

        In one operation where there is one: what lies between norm and neuron is then neither written nor kept.
        """
        if implementation_for(x) != "compiled":
            return spike(self(x, domain), constants, want_membrane)
        running_mean, running_var = self.running(domain)
        if self.training:
            mean, variance = compiled.statistics(x, merged=self.mode == "merged")
            count = x.numel() // (len(mean) * x.shape[2])
            for mean_of_step, variance_of_step in zip(mean, variance * (count / max(count - 1, 1)), strict=True):
                running_mean.lerp_(mean_of_step, self.momentum)
                running_var.lerp_(variance_of_step, self.momentum)
        else:
            mean, variance = running_mean[None], running_var[None]
        norm = compiled.Norm(self.weight, self.bias, mean, (variance + EPSILON).rsqrt(), of_batch=self.training)
        return compiled.lif(x, constants, want_membrane, norm)

    def _normalize(self, images: Tensor, domain: Domain) -> Tensor:
        running, affine = self.running(domain), (self.weight, self.bias)
        return F.batch_norm(images, *running, *affine, self.training, self.momentum, EPSILON)


class Neurons(nn.Module):
    """A layer of LIF neurons, with the batch norm before it where there is one: (T, B, ...) to spikes like it."""

    def __init__(self, constants: LifConstants) -> None:
        super().__init__()
        self.constants = constants

    def forward(
        self, x: Tensor, domain: Domain, norm: BatchNormOverTime | None, want_membrane: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Spikes, and where wanted the membranes after reset; x is the current, or what `norm` makes it of."""
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and implementation_for(x) != "compiled":
            x = x.float()  # of autocast; torch's batch norm on a CPU is slow in bfloat16
        if norm is None:
            return spike(x, self.constants, want_membrane)
        return norm.then_lif(x, domain, self.constants, want_membrane)


class SpikingLayer(nn.Module):
    """What gives currents, batch norm over time if there is one, LIF."""

    norm: BatchNormOverTime | None
    neurons: Neurons

    def currents(self, x: Tensor) -> Tensor:
        """From x (T, B, ...)."""
        raise NotImplementedError

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """The spikes."""
        spikes: Tensor = self.neurons(self.currents(x), domain, self.norm)[0]
        return spikes

    def with_membrane(self, x: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """The spikes and the membrane potentials after reset."""
        spikes, membrane = self.neurons(self.currents(x), domain, self.norm, want_membrane=True)
        return spikes, membrane


class SpikingConv(SpikingLayer):
    """Of a convolution: (T, B, C_in, H, W) to (T, B, C_out, H', W')."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: BatchNormOverTime | None,
        constants: LifConstants,
        *,
        kernel_size: int = 3,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.norm = norm
        self.neurons = Neurons(constants)

    def currents(self, x: Tensor) -> Tensor:
        return _over_time(self.conv(x.flatten(0, 1)), x)


class SpikingLinear(SpikingLayer):
    """Of a linear layer: (T, B, ...) to (T, B, out_features)."""

    def __init__(self, in_features: int, out_features: int, constants: LifConstants) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = None
        self.neurons = Neurons(constants)

    def currents(self, x: Tensor) -> Tensor:
        currents: Tensor = self.linear(x.flatten(2))
        return currents


class PreActivationConv(nn.Module):
    """Batch norm over time, LIF, convolution: (T, B, C_in, H, W) to (T, B, C_out, H / stride, W / stride)."""

    def __init__(
        self,
        out_channels: int,
        norm: BatchNormOverTime,
        constants: LifConstants,
        *,
        kernel_size: int = 3,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.norm = norm
        in_channels = len(norm.weight)
        # A 1x1 convolution with a stride sees every stride-th pixel alone, so they are taken beforehand: the backward
        # pass of torch 2.13's own on the CPU writes outside its memory for 8 or 24 channels and the like.
        self.every = stride if kernel_size == 1 else 1
        conv_stride = 1 if kernel_size == 1 else stride
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, conv_stride, kernel_size // 2, bias=False)
        self.neurons = Neurons(constants)

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        spikes = self.neurons(x, domain, self.norm)[0][..., :: self.every, :: self.every]
        return _over_time(self.conv(spikes.flatten(0, 1)), x)


class ResidualBlock(nn.Module):
    """Two pre-activated convolutions beside a shortcut, which is one of 1x1 where the shape changes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        make_norm: Callable[[int], BatchNormOverTime],
        constants: LifConstants,
        stride: int,
    ) -> None:
        """make_norm: from the number of channels."""
        super().__init__()
        self.first = PreActivationConv(out_channels, make_norm(in_channels), constants, stride=stride)
        self.second = PreActivationConv(out_channels, make_norm(out_channels), constants)
        self.shortcut: PreActivationConv | None = None
        if stride > 1 or in_channels != out_channels:
            norm = make_norm(in_channels)
            self.shortcut = PreActivationConv(out_channels, norm, constants, kernel_size=1, stride=stride)

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        out: Tensor = self.second(self.first(x, domain), domain)
        return out + (x if self.shortcut is None else self.shortcut(x, domain))


POOLED_PIXELS = 4  # of an average pool, 2 x 2


class AveragePool(nn.Module):
    """Halves height and width of (T, B, C, H, W) by averaging; an odd last row or column falls off."""

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """The same for both domains."""
        return _over_time(F.avg_pool2d(x.flatten(0, 1), 2), x)


def _over_time(images: Tensor, like: Tensor) -> Tensor:
    """Images (T * B, C, H, W) as (T, B, C, H, W), with T and B of `like`."""
    return images.view(*like.shape[:2], *images.shape[1:])


def recomputed(function: Callable[[Tensor], Any], layers: Iterable[nn.Module], x: Tensor) -> Any:
    """function(x), which runs `layers` in training mode; their activations are not kept (Chen et al., 2016).

    The backward pass computes them once more. Outputs, gradients and the layers' statistics have the same bits.
    """
    if not torch.is_grad_enabled():
        return function(x)
    modules = [module for layer in layers for module in layer.modules()]
    contexts = lambda: (nullcontext(), statistics_aside(modules))  # noqa: E731 - of the first time, of the second
    return checkpoint(function, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)


@contextmanager
def statistics_aside(modules: list[nn.Module]) -> Iterator[None]:
    """Within it the modules' buffers are copies: running statistics do not see what passes (a batch, when recomputing).

    The buffers are exchanged and not written back, for a write would make what autograd kept of them invalid.
    """
    aside = [module._buffers for module in modules]
    for module in modules:
        module._buffers = {key: buffer if buffer is None else buffer.clone() for key, buffer in module._buffers.items()}
    try:
        yield
    finally:
        for module, buffers in zip(modules, aside, strict=True):
            module._buffers = buffers
