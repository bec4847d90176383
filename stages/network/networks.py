"""Networks: a backbone and a linear head for each domain, from the parts in `layers`; or a module of the user's.

Frames are (T, B, 2, H, W). A backbone maps those of either domain to what the head reads and, where wanted, to the
features that are aligned between the domains; both are (T, B, D) once flattened.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ..plugins import find, plugin_digest
from .config import ARCHITECTURES, Architecture, ModelConfig, Widths
from .layers import (
    AveragePool,
    BatchNormOverTime,
    Domain,
    ResidualBlock,
    SpikingConv,
    SpikingLayer,
    SpikingLinear,
    recomputed,
)
from .lif import LifConstants

NUM_POLARITIES = 2
BLOCKS_PER_STAGE = 2  # of ResNet18


class NetworkFactory(Protocol):
    """What `model.name` stands for: a function, or the module's class. It gets `model.options` by name, too.

    The module maps frames (T, B, 2, H, W), `forward(frames)`, to logits (T, B, num_classes); each call starts at rest.
    It may ask for the domain of the frames, "static" or "event": `forward(frames, domain)`. With a method
    `with_features` of the same arguments it gives the logits and what is aligned between the domains (T, B, ...);
    without, its logits are aligned.
    """

    def __call__(self, config: ModelConfig, *, num_classes: int, num_steps: int, size: int) -> nn.Module: ...


class FeedForward(nn.Sequential):
    """Layers in a row. Features: the last neurons' membranes after reset.

    `recompute`: keep of each spiking layer and the pools behind it the input alone for the backward pass.
    """

    recompute: bool = False

    def forward(  # type: ignore[override]
        self, frames: Tensor, domain: Domain, want_features: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        blocks: list[list[nn.Module]] = []
        for layer in self:
            if isinstance(layer, SpikingLayer) or not blocks:
                blocks.append([])
            blocks[-1].append(layer)
        x, features = frames, None
        for number, block in enumerate(blocks, 1):
            function = partial(_through, block, domain, want_features and number == len(blocks))
            x, features = recomputed(function, block, x) if self.recompute and self.training else function(x)
        return x, features


def _through(block: list[nn.Module], domain: Domain, want_features: bool, x: Tensor) -> tuple[Tensor, Tensor | None]:
    features = None
    for layer in block:
        if want_features and isinstance(layer, SpikingLayer):
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
        widths = _channels(config.layers)
        self.stem = nn.Conv2d(NUM_POLARITIES, widths[0], 3, padding=1, bias=False)
        blocks = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(BLOCKS_PER_STAGE):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(ResidualBlock(channels, width, partial(_norm, config), _constants(config), stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = _norm(config, channels)

    def forward(self, frames: Tensor, domain: Domain, want_features: bool = False) -> tuple[Tensor, Tensor]:
        currents = self.stem(frames.flatten(0, 1))
        x = currents.view(*frames.shape[:2], *currents.shape[1:])
        for block in self.blocks:
            function = partial(block, domain=domain)
            x = recomputed(function, [block], x) if self.recompute and self.training else function(x)
        x = self.norm(x, domain).mean((3, 4))
        return x, x


class OwnBackbone(nn.Module):
    """A user's module with heads of its own, see `NetworkFactory`. `recompute` changes nothing."""

    recompute: bool = False

    def __init__(self, name: str, module: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.name, self.num_classes = name, num_classes
        self.module = module

    def forward(self, frames: Tensor, domain: Domain, want_features: bool = False) -> tuple[Tensor, Tensor]:
        takes_domain = "domain" in inspect.signature(self.module.forward).parameters
        inputs = (frames, domain) if takes_domain else (frames,)
        with_features: Any = getattr(self.module, "with_features", None)
        asked_for_both = want_features and with_features is not None
        given = with_features(*inputs) if asked_for_both else self.module(*inputs)
        pair = given if asked_for_both else (given, given)
        are_tensors = [isinstance(part, Tensor) for part in pair] if isinstance(pair, tuple | list) else []
        if are_tensors != [True, True]:
            function, wanted = ("with_features", "logits and features") if asked_for_both else ("forward", "logits")
            raise TrainingError(
                f"model.name = {self.name}: expected {wanted} from {function}(), a tensor each; "
                f"found {_in_words(given)}"
            )
        logits, features = pair
        expected = (*frames.shape[:2], self.num_classes)
        if logits.shape != expected or features.shape[:2] != expected[:2]:
            raise TrainingError(
                f"model.name = {self.name}: expected logits (T, B, classes) = {expected} of frames "
                f"{tuple(frames.shape)}, and features (T, B, ...); found {tuple(logits.shape)}, {tuple(features.shape)}"
            )
        return logits, features


def _in_words(given: object) -> str:
    """What a user's function gave, for a message."""
    if isinstance(given, Tensor):
        return f"a tensor {tuple(given.shape)}"
    if isinstance(given, tuple | list):
        return f"{type(given).__name__} of {', '.join(type(part).__name__ for part in given) or 'nothing'}"
    return type(given).__name__


class SpikingNetwork(nn.Module):
    """A backbone with its heads. `coefficients` (T,) are the loss's learnable eta_t.

    Without a static head the event head is that of both domains.
    """

    def __init__(
        self,
        backbone: FeedForward | ResNet | OwnBackbone,
        static_head: nn.Module | None,
        event_head: nn.Module,
        num_steps: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.static_head = static_head
        self.event_head = event_head
        self.coefficients = nn.Parameter(torch.ones(num_steps))

    def forward(self, frames: Tensor, domain: Domain) -> Tensor:
        """Logits (T, B, num_classes) of frames (T, B, 2, H, W) from the domain's head."""
        return self._head(domain, self.backbone(frames, domain)[0])

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits (T, B, num_classes) and the features to align (T, B, D)."""
        x, features = self.backbone(frames, domain, want_features=True)
        return self._head(domain, x), features.flatten(2)

    def _head(self, domain: Domain, x: Tensor) -> Tensor:
        head = self.static_head if domain == "static" and self.static_head is not None else self.event_head
        logits: Tensor = head(x.flatten(2))
        return logits


def build_network(config: ModelConfig, *, num_classes: int, num_steps: int, size: int, seed: int) -> SpikingNetwork:
    """The network that `config` names, with the initial weights of `seed`; torch's own generator is left alone.

    size: height and width of the frames, pixels. Raises PluginError: no such network. TrainingError: the layers leave
    no pixel, or a user's network does not take the arguments or is none.
    """
    factory = find("networks", config.name, NETWORKS)
    arguments: dict[str, Any] = {"num_classes": num_classes, "num_steps": num_steps, "size": size, **config.options}
    try:
        signature = inspect.signature(factory)
        signature.bind(config, **arguments)
        if "num_classes" not in signature.parameters:  # takes anything: not made to be a network
            raise TypeError("it has no parameter 'num_classes'")
    except (TypeError, ValueError) as error:
        raise TrainingError(f"model.name = {config.name}: cannot be called as a network is ({error})") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = factory(config, **arguments)
    if isinstance(network, SpikingNetwork):
        return network
    if not isinstance(network, nn.Module):
        raise TrainingError(f"model.name = {config.name}: gave a {type(network).__name__}, expected a torch module")
    return SpikingNetwork(OwnBackbone(config.name, network, num_classes), None, nn.Identity(), num_steps)


def code_of(config: ModelConfig) -> str | None:
    """Digest of the code of a user's network, which belongs to a run's identity; None of this package's."""
    return plugin_digest("networks", config.name, NETWORKS)


def num_parameters(network: nn.Module) -> int:
    """Learnable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def _built_in(config: ModelConfig, *, num_classes: int, num_steps: int, size: int) -> SpikingNetwork:
    """VGG-SNN, ResNet18-SNN or SCNN, see `ARCHITECTURES`."""
    architecture = ARCHITECTURES[config.name]
    backbone: FeedForward | ResNet
    if architecture.is_residual:
        backbone, num_features = ResNet(config), _channels(config.layers)[-1]
    else:
        backbone, num_features = _feed_forward(config, architecture, size)
    static_head = None if architecture.one_head else nn.Linear(num_features, num_classes)
    network = SpikingNetwork(backbone, static_head, nn.Linear(num_features, num_classes), num_steps)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and architecture.spreads_over is not None:
            nn.init.kaiming_normal_(module.weight, mode=architecture.spreads_over, nonlinearity="relu")
        elif isinstance(module, nn.Linear) and architecture.linear_bound is not None:
            nn.init.uniform_(module.weight, -architecture.linear_bound, architecture.linear_bound)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


NETWORKS: dict[str, NetworkFactory] = dict.fromkeys(ARCHITECTURES, _built_in)


def _feed_forward(config: ModelConfig, architecture: Architecture, size: int) -> tuple[FeedForward, int]:
    """The layers, and how many numbers the last one gives for each frame of size x size pixels."""
    kernel_size, padding = architecture.kernel_size, architecture.padding
    widths = config.layers[:-1] if architecture.ends_linear else config.layers
    layers: list[nn.Module] = []
    channels, pixels = NUM_POLARITIES, size
    for width in widths:
        if width == "P":
            layers.append(AveragePool())
            pixels //= 2
        else:
            norm = _norm(config, width) if architecture.has_norm else None
            convolution = {"kernel_size": kernel_size, "padding": padding}
            layers.append(SpikingConv(channels, width, norm, _constants(config), **convolution))
            channels = width
            pixels += 2 * padding - kernel_size + 1
        if pixels < 1:
            raise TrainingError(
                f"model.widths: the convolutions and pools of {config.name} leave nothing of a {size} x {size} frame; "
                f"use fewer of them or larger frames"
            )
    num_features = channels * pixels**2
    if architecture.ends_linear:
        (hidden,) = _channels(config.layers[-1:])
        layers.append(SpikingLinear(num_features, hidden, _constants(config)))
        num_features = hidden
    return FeedForward(*layers), num_features


def _norm(config: ModelConfig, num_channels: int) -> BatchNormOverTime:
    return BatchNormOverTime(num_channels, config.batch_norm, config.running_statistics)


def _channels(widths: Widths) -> list[int]:
    return [width for width in widths if width != "P"]


def _constants(config: ModelConfig) -> LifConstants:
    return LifConstants(config.tau, config.threshold, config.surrogate_alpha)
