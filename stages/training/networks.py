"""The method's networks: a backbone and a linear head for each domain, from the parts in `layers`.

A backbone maps frames (T, B, 2, H, W) of either domain to what the head reads, and with `with_features` also to the
features that are aligned between the domains; both are (T, B, D) once flattened.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from .config import ModelConfig, Widths
from .layers import AveragePool, BatchNormOverTime, Neurons, ResidualBlock, SpikingConv, SpikingLinear
from .neurons import LifConstants
from .recomputing import recomputed

Domain = Literal["static", "event"]

NUM_POLARITIES = 2
BLOCKS_PER_STAGE = 2  # of ResNet18


class FeedForward(nn.Sequential):
    """Layers in a row. Features: the last neurons' membranes after reset.

    `recompute`: keep of each spiking layer and the pools behind it the input alone for the backward pass.
    """

    recompute: bool = False

    def forward(self, frames: Tensor) -> Tensor:
        return self._run(frames, want_features=False)[0]

    def with_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x, features = self._run(frames, want_features=True)
        assert features is not None
        return x, features

    def _run(self, frames: Tensor, want_features: bool) -> tuple[Tensor, Tensor | None]:
        blocks: list[list[nn.Module]] = [[]]
        for layer in self:
            if isinstance(layer, SpikingConv | SpikingLinear) and blocks[-1]:
                blocks.append([])
            blocks[-1].append(layer)
        x, features = frames, None
        for block in blocks:
            function = partial(_through, block, want_features and block is blocks[-1])
            x, features = recomputed(function, block, x) if self.recompute and self.training else function(x)
        return x, features


def _through(block: list[nn.Module], want_features: bool, x: Tensor) -> tuple[Tensor, Tensor | None]:
    features = None
    for layer in block:
        if want_features and isinstance(layer, SpikingConv | SpikingLinear):
            x, features = layer.with_membrane(x)
        else:
            x = layer(x)
    return x, features


class ResNet(nn.Module):
    """ResNet18 of pre-activation blocks, without a pool behind the stem. Features: what the heads read, analog.

    `recompute`: keep of each residual block its input alone for the backward pass.
    """

    recompute: bool = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths, constants = _channels(config.layers), _constants(config)
        self.stem = nn.Conv2d(NUM_POLARITIES, widths[0], 3, padding=1, bias=False)
        blocks = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(BLOCKS_PER_STAGE):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width, config.batch_norm, constants, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = BatchNormOverTime(channels, config.batch_norm)

    def forward(self, frames: Tensor) -> Tensor:
        currents = self.stem(frames.flatten(0, 1))
        x = currents.view(*frames.shape[:2], *currents.shape[1:])
        for block in self.blocks:
            x = recomputed(block, [block], x) if self.recompute and self.training else block(x)
        return self.norm(x).mean((3, 4))  # type: ignore[no-any-return]

    def with_features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x = self(frames)
        return x, x


class SpikingNetwork(nn.Module):
    """VGG-SNN, ResNet18-SNN or SCNN (Deng et al., ICLR 2022; Li et al., 2022) as in He et al., AAAI 2024.

    `coefficients` (T,) are the loss's learnable eta_t. The SCNN has one head for both domains, the others one for each.
    """

    def __init__(self, config: ModelConfig, *, num_classes: int, num_steps: int, size: int) -> None:
        """`size`: height and width of the frames, pixels. Raises TrainingError when the layers leave no pixel of it."""
        super().__init__()
        self.backbone: FeedForward | ResNet
        if config.name == "resnet18":
            self.backbone = ResNet(config)
            num_features = _channels(config.layers)[-1]
        else:
            self.backbone, num_features = _feed_forward(config, size)
        self.static_head = None if config.name == "scnn" else nn.Linear(num_features, num_classes)
        self.event_head = nn.Linear(num_features, num_classes)
        self.coefficients = nn.Parameter(torch.ones(num_steps))

    def forward(self, frames: Tensor, domain: Domain) -> Tensor:
        """Logits (T, B, num_classes) of frames (T, B, 2, H, W) from the domain's head."""
        return self._head(domain, self.backbone(frames))

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits (T, B, num_classes) and the features to align (T, B, D)."""
        x, features = self.backbone.with_features(frames)
        return self._head(domain, x), features.flatten(2)

    def _head(self, domain: Domain, x: Tensor) -> Tensor:
        head = self.static_head if domain == "static" and self.static_head is not None else self.event_head
        logits: Tensor = head(x.flatten(2))
        return logits


def build_network(config: ModelConfig, *, num_classes: int, num_steps: int, size: int, seed: int) -> SpikingNetwork:
    """The network that `config` names, with the initial weights of `seed`; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SpikingNetwork(config, num_classes=num_classes, num_steps=num_steps, size=size)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def num_parameters(network: nn.Module) -> int:
    """Learnable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def num_neuron_layers(network: nn.Module) -> int:
    """Layers of neurons, each with a threshold and a surrogate gradient that the released code counts as learnable."""
    return sum(isinstance(module, Neurons) for module in network.modules())


def _feed_forward(config: ModelConfig, size: int) -> tuple[FeedForward, int]:
    """VGG-SNN: padded 3x3 convolutions with batch norm. SCNN: 5x5 ones without either, then a linear layer.

    Returns the layers and how many numbers the last one gives for each frame.
    """
    constants = _constants(config)
    is_scnn = config.name == "scnn"
    kernel_size, padding = (5, 0) if is_scnn else (3, 1)
    widths = config.layers[:-1] if is_scnn else config.layers
    layers: list[nn.Module] = []
    channels, pixels = NUM_POLARITIES, size
    for width in widths:
        if width == "P":
            layers.append(AveragePool())
            pixels //= 2
        else:
            mode = None if is_scnn else config.batch_norm
            layers.append(SpikingConv(channels, width, mode, constants, kernel_size=kernel_size, padding=padding))
            channels = width
            pixels += 2 * padding - kernel_size + 1
        if pixels < 1:
            raise TrainingError(
                f"model.widths: the convolutions and pools of {config.name} leave nothing of a {size} x {size} frame; "
                f"use fewer of them or larger frames"
            )
    num_features = channels * pixels**2
    if is_scnn:
        (hidden,) = _channels(config.layers[-1:])
        layers.append(SpikingLinear(num_features, hidden, constants))
        num_features = hidden
    return FeedForward(*layers), num_features


def _channels(widths: Widths) -> list[int]:
    return [width for width in widths if width != "P"]


def _constants(config: ModelConfig) -> LifConstants:
    return LifConstants(config.tau, config.threshold, config.surrogate_alpha)
