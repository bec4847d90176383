"""The method's networks: a backbone and a linear head for each domain, from the parts in `layers`.

A backbone maps frames (T, B, 2, H, W) of either domain to what the head reads, and with `with_features` also to the
features that are aligned between the domains; both are (T, B, D) once flattened.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from .config import ModelConfig, Widths
from .layers import AveragePool, BatchNormOverTime, Domain, Neurons, ResidualBlock, SpikingConv, SpikingLinear
from .neurons import LifConstants
from .recomputing import recomputed

NUM_POLARITIES = 2
BLOCKS_PER_STAGE = 2  # of ResNet18


class FeedForward(nn.Sequential):
    """Layers in a row. Features: the last neurons' membranes after reset.

    `recompute`: keep of each spiking layer and the pools behind it the input alone for the backward pass.
    """

    recompute: bool = False

    def forward(self, frames: Tensor, domain: Domain) -> Tensor:  # type: ignore[override]
        return self._run(frames, domain, want_features=False)[0]

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        x, features = self._run(frames, domain, want_features=True)
        assert features is not None
        return x, features

    def _run(self, frames: Tensor, domain: Domain, want_features: bool) -> tuple[Tensor, Tensor | None]:
        blocks: list[list[nn.Module]] = [[]]
        for layer in self:
            if isinstance(layer, SpikingConv | SpikingLinear) and blocks[-1]:
                blocks.append([])
            blocks[-1].append(layer)
        x, features = frames, None
        for block in blocks:
            function = partial(_through, block, domain, want_features and block is blocks[-1])
            x, features = recomputed(function, block, x) if self.recompute and self.training else function(x)
        return x, features


def _through(block: list[nn.Module], domain: Domain, want_features: bool, x: Tensor) -> tuple[Tensor, Tensor | None]:
    features = None
    for layer in block:
        if want_features and isinstance(layer, SpikingConv | SpikingLinear):
            x, features = layer.with_membrane(x, domain)
        else:
            x = layer(x, domain)
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
                blocks.append(ResidualBlock(channels, width, partial(_norm, config), constants, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = _norm(config, channels)

    def forward(self, frames: Tensor, domain: Domain) -> Tensor:
        currents = self.stem(frames.flatten(0, 1))
        x = currents.view(*frames.shape[:2], *currents.shape[1:])
        for block in self.blocks:
            function = partial(block, domain=domain)
            x = recomputed(function, [block], x) if self.recompute and self.training else function(x)
        return self.norm(x, domain).mean((3, 4))  # type: ignore[no-any-return]

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        x = self(frames, domain)
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
        return self._head(domain, self.backbone(frames, domain))

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits (T, B, num_classes) and the features to align (T, B, D)."""
        x, features = self.backbone.with_features(frames, domain)
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
        _draw_weights(network, config)
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
            norm = None if is_scnn else _norm(config, width)
            layers.append(SpikingConv(channels, width, norm, constants, kernel_size=kernel_size, padding=padding))
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


def _draw_weights(network: SpikingNetwork, config: ModelConfig) -> None:
    """The released constructors' initial weights where they are not torch's own, which the VGG-SNN keeps.

    ResNet18-SNN: convolutions normal of deviation sqrt(2 / fan out). SCNN: convolutions normal of sqrt(2 / fan in),
    weights of linear layers uniform in [-0.1, 0.1].
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and config.name in ("resnet18", "scnn"):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out" if config.name == "resnet18" else "fan_in", nonlinearity="relu"
            )
        elif isinstance(module, nn.Linear) and config.name == "scnn":
            nn.init.uniform_(module.weight, -0.1, 0.1)


def _norm(config: ModelConfig, num_channels: int) -> BatchNormOverTime:
    return BatchNormOverTime(num_channels, config.batch_norm, config.running_statistics)


def _channels(widths: Widths) -> list[int]:
    return [width for width in widths if width != "P"]


def _constants(config: ModelConfig) -> LifConstants:
    return LifConstants(config.tau, config.threshold, config.surrogate_alpha)
