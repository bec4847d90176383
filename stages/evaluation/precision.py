"""The number formats that a trained network can be evaluated in: float32, bfloat16, and on a CPU weights of 8 bits.

These are for VGG-SNN. What lies between the layers are spikes, 0 or 1, or their sums over a pool's pixels, and these
are whole numbers that 8 bits hold exactly. So the weights alone are rounded: of each output channel to the nearest of
255 equal steps between plus and minus its largest weight. Sums of products are whole numbers too, and exact. The first
convolution, which reads counts, the batch norms, the membranes and the head stay in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ..network import compiled
from ..network.layers import EPSILON, AveragePool, BatchNormOverTime, Domain, SpikingConv
from ..network.lif import LifConstants
from ..network.networks import FeedForward, SpikingNetwork
from ..network.runtime import cpu_capabilities
from .config import Precision

_LARGEST_COUNT = 255


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


@dataclass(frozen=True)
class _Block:
    """A convolution (of uint8 where `weights_scale` is set), the affine map that its norm is, neurons, pool.

    `input_scale`: what an input of 1 stands for, 1 / pixels of the pools before.
    """

    weights: Tensor
    weights_scale: Tensor | None
    input_scale: float
    scale: Tensor
    shift: Tensor
    constants: LifConstants
    pool: int

    def __call__(self, x: Tensor, num_steps: int) -> Tensor:
        """Spike counts (T * B, C', H', W') uint8 of images x (T * B, C, H, W)."""
        if self.weights_scale is None:
            currents = torch.conv2d(x, self.weights, padding=1)
        else:
            currents = _convolve(x, self.input_scale, self.weights, self.weights_scale)
        steps = currents.view(num_steps, -1, *currents.shape[1:])
        return compiled.pooled_spikes(steps, self.scale, self.shift, self.constants, self.pool).flatten(0, 1)


class Int8Network(nn.Module):
    """Evaluates as the network that it is made from does, with its weights rounded to 8 bits. Has no gradients."""

    def __init__(self, network: SpikingNetwork) -> None:
        """Raises TrainingError where the network or this machine cannot do that."""
        super().__init__()
        _check_machine(network)
        self.head = network.event_head
        self.blocks: list[_Block] = []
        pixels = 1  # that a count is summed over
        for conv, norm, pool in _blocks_of(network):
            weights, weights_scale = conv.conv.weight.detach(), None
            if self.blocks:
                weights, weights_scale = quantize(weights)
                weights = _pack(weights, weights_scale, 1 / pixels)
            mean, variance = norm.running("event")
            scale = norm.weight.detach() * (variance + EPSILON).rsqrt()
            shift = norm.bias.detach() - mean * scale
            self.blocks.append(_Block(weights, weights_scale, 1 / pixels, scale, shift, conv.neurons.constants, pool))
            pixels = pool**2
        self.head_scale = 1 / pixels

    @torch.inference_mode()
    def forward(self, frames: Tensor, domain: Domain) -> Tensor:
        """Logits (T, B, num_classes) of frames (T, B, 2, H, W); of recordings alone."""
        assert domain == "event"
        x = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, len(frames))
        logits: Tensor = self.head(x.view(*frames.shape[:2], *x.shape[1:]).flatten(2).float() * self.head_scale)
        return logits


def quantize(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C_out, ...) as int8 in -127 to 127, and what 1 stands for in each output channel (C_out,).

    A channel's largest absolute weight becomes 127; one of zeros stays zeros.
    """
    scale = weights.flatten(1).abs().amax(1).clamp(min=torch.finfo(weights.dtype).tiny * 127) / 127
    return (weights / scale.view(-1, *[1] * (weights.ndim - 1))).round().to(torch.int8), scale


def _pack(weights: Tensor, scale: Tensor, input_scale: float) -> Tensor:
    packed: Tensor = torch.ops.onednn.qconv_prepack(weights, scale, input_scale, 0, [1, 1], [1, 1], [1, 1], 1)
    return packed


def _convolve(x: Tensor, input_scale: float, packed: Tensor, scale: Tensor) -> Tensor:
    """Padded 3x3 convolution of x (n, C, H, W) uint8 with packed weights, float32."""
    no_shift = torch.zeros(len(scale), dtype=torch.int32)
    places = [1, 1], [1, 1], [1, 1], 1  # stride, padding, dilation, groups
    out: Tensor = torch.ops.onednn.qconv_pointwise(
        x, input_scale, 0, packed, scale, no_shift, None, *places, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


def _blocks_of(network: SpikingNetwork) -> list[tuple[SpikingConv, BatchNormOverTime, int]]:
    """Convolutions with their norms, and the pixels along a side of the pools behind them. Raises TrainingError."""
    blocks: list[tuple[SpikingConv, BatchNormOverTime, int]] = []
    layers = list(network.backbone) if isinstance(network.backbone, FeedForward) else []
    for layer in layers:
        if isinstance(layer, SpikingConv) and layer.norm is not None:
            blocks.append((layer, layer.norm, 1))
        elif isinstance(layer, AveragePool) and blocks:
            blocks[-1] = (*blocks[-1][:2], 2 * blocks[-1][2])
        else:
            blocks.clear()
            break
    if not blocks or any(pool**2 > _LARGEST_COUNT for *_, pool in blocks):
        raise TrainingError(
            "evaluate.precision = int8 is for vgg_snn and vgg_snn_small: padded convolutions with batch norm in a row, "
            "the first layer one of them, with at most three pools together; this network is another: use float32"
        )
    return blocks


def _check_machine(network: SpikingNetwork) -> None:
    device = network.coefficients.device
    if device.type != "cpu":
        raise TrainingError(f"evaluate.precision = int8 runs on a CPU, not on {device}: use --device cpu, or float32")
    if not cpu_capabilities() & {"avx512_vnni", "avx_vnni"}:
        raise TrainingError(
            "evaluate.precision = int8 needs a CPU with 8-bit products (avx512_vnni or avx_vnni), which this one lacks "
            "or this torch does not report: use float32"
        )
    missing = [name for name in ("qconv_prepack", "qconv_pointwise") if not hasattr(torch.ops.onednn, name)]
    if missing:
        raise TrainingError(
            f"evaluate.precision = int8 needs a torch with oneDNN, and torch {torch.__version__} lacks onednn::"
            f"{' and onednn::'.join(missing)}: use float32"
        )
