"""Ways to teach: each is one file here, and its name is the file's; users bring their own as `package.module:Name`.

A method says what a step shows to the network, and what the loss of that is. The loop, the sampler and the checkpoints
know no method by name.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ....cache.documents import Frozen
from ....cache.errors import TrainingError
from ....cache.paired import PairedCache
from ....cache.pairs import Reach
from ...batches.data import static_frames
from ...network.config import ModelConfig
from ...network.layers import Domain
from ...network.networks import SpikingNetwork, code_of
from ...plugins import find, plugin_digest, require_name
from ...saccades.config import MOTION_NAMES
from ..config import METHOD_NAMES, TrainConfig
from ..losses import LossParts
from ..progress import OnMessage
from ..sliding import STRATEGIES, SlidingStrategy, sliding_strategy

Photos = Callable[[NDArray[np.int64]], Tensor]  # rows of the static pool (n,) to images (n, 1, h, w), on the device


@dataclass(frozen=True)
class MixedPrecision:
    """The network in the precision of the configuration, for a step; what comes out is float32.

    auxiliary: what the method made beside the network; float32 unless called within `autocast`.
    """

    network: SpikingNetwork
    precision: str
    auxiliary: nn.Module | None = None

    @property
    def coefficients(self) -> Tensor:
        """The learnable eta_t (T,)."""
        return self.network.coefficients

    def logits(self, frames: Tensor, domain: Domain) -> Tensor:
        """Logits (T, B, C) of frames (T, B, 2, H, W) from the domain's head."""
        with self.autocast():
            logits: Tensor = self.network(frames, domain)
        return logits.float()

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Logits (T, B, C) and the features to align (T, B, D)."""
        with self.autocast():
            logits, features = self.network.with_features(frames, domain)
        return logits.float(), features.float()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.coefficients.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


@dataclass(frozen=True)
class Shown:
    """What a step may show to the network, of B recordings and as many images, on the device.

    events (T, B, 2, H, W): augmented frames.  labels (B,), int64.  images (B, 1, h, w) in [0, 1], with the encoding
    "recorded" their recordings (B, T, 2, H, W) in the store's type; None without images.
    draws (B,): uniform in [0, 1); an image whose draw is below `probability`, sliding's of this step, is replaced.
    record: what a camera sees, or saw, of images, as frames (T, b, 2, H, W); None: their brightness is shown.
    progress: the share of all steps that are done, in [0, 1).  generator: random numbers on the device, a stream for
    each purpose, which follow from the seed and the step.
    """

    events: Tensor
    labels: Tensor
    images: Tensor | None
    draws: Tensor
    probability: float
    record: Callable[[Tensor], Tensor] | None = None
    progress: float = 0.0
    generator: Callable[[str], torch.Generator] | None = None

    @property
    def replaced(self) -> Tensor:
        """Which images the recordings take the place of in the static branch, (B,)."""
        return self.draws < self.probability

    def photos(self, count: int | None = None) -> Tensor:
        """Frames of all images or of the first `count`, (T, b, 2, H, W), or what stands for it: (b, 1, H, W)."""
        assert self.images is not None
        images = self.images[:count]
        return images if self.record is None else self.record(images)

    def static(self) -> Tensor:
        """The static branch's frames (T, B, 2, H, W): images, or the recordings that replace them."""
        return static_frames(self.photos(), self.events, self.replaced)


class Method(ABC):
    """One way to teach.

    uses_images: whether steps show static images, which every class then needs.
    photo_head: the head that is to name photos when they are analysed.
    uses_labels: whether recordings teach, and their labels with them.
    Options: what `train.options` may hold for it; a method of one's own may leave that out and read them itself.
    """

    uses_images: ClassVar[bool] = True
    photo_head: Domain = "static"
    uses_labels: bool = True
    Options: ClassVar[type[Frozen] | None] = None

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @abstractmethod
    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        """The loss of a step, and the logits (T, B, C) that named its recordings. Nothing may wait for the device."""

    def auxiliary(self, network: SpikingNetwork, split: PairedCache) -> nn.Module | None:
        """What is needed beside the network to train it, and is no part of it; `loss` finds it beside the network.

        The optimiser moves what has gradients. It is kept with the states of the run, not with its weights.
        """
        return None

    def prepare(self, auxiliary: nn.Module, photos: Photos, labels: NDArray[np.int64], tell: OnMessage) -> None:
        """Make `auxiliary` ready before the first step of a run, not when it goes on.

        labels (m,): of the static pool, whose `photos` are all that may teach.  tell: takes lines on how it goes.
        """
        return

    def sliding(self) -> SlidingStrategy:
        """How likely an image is replaced, as training goes on."""
        return sliding_strategy(self.config)

    def phases(self) -> tuple[range, ...]:
        """The epochs of each phase: one has an optimiser and a schedule of its own, and the last chooses `best`."""
        return (range(self.config.epochs),)

    def uses_coefficients(self) -> bool:
        """Whether the network's eta_t are learned."""
        return False

    def shown_photos(self, in_pool: Reach) -> Reach:
        """Which photos of held-out recordings training shows, of those in the static pool."""
        return in_pool if self.uses_images else "none"


def method_class(name: str) -> type[Method]:
    """The method of that name. Raises PluginError: there is none, or it cannot be imported."""
    if name in METHOD_NAMES:
        found = getattr(import_module(f".{name}", __name__), name.title().replace("_", ""))
    else:
        require_name("methods", name, METHOD_NAMES)
        found = find("methods", name, {})
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise TrainingError(
            f"train.method = {name}: expected a class derived from {Method.__module__}.Method; found {found}"
        )
    return found


def options_of(config: TrainConfig) -> Frozen:
    """`train.options` of a built-in method, with defaults for what is not given. Raises ValidationError."""
    return (method_class(config.method).Options or Frozen).model_validate(config.options)


def method_of(config: TrainConfig) -> Method:
    """The method that a configuration names. Raises PluginError or TrainingError."""
    found = method_class(config.method)
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise TrainingError(f"train.method = {config.method}: has no {missing}(), which a method must define")
    return found(config)


def photo_head_of(config: TrainConfig | None, method: str) -> Domain:
    """The head that a run trained to name images: their own, but for methods that train one head alone.

    config: the run's settings; None for imported weights. method: its name in the weights.
    """
    if config is not None:
        return method_of(config).photo_head
    return "static" if method == "imported" else method_class(method).photo_head


def auxiliary_of(method: Method, network: SpikingNetwork, split: PairedCache) -> nn.Module | None:
    """What the method needs beside the network, on its device; initial weights follow from the seed alone.

    Drawn by a stream of their own: from the network's, its first layer would have the same ones.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng([method.config.seed, *b"auxiliary"]).integers(1 << 62)))
        auxiliary = method.auxiliary(network, split)
    return None if auxiliary is None else auxiliary.to(network.coefficients.device)


def plugin_code(model: ModelConfig, config: TrainConfig) -> dict[str, str]:
    """Digests of the code that is not this package's, and decides what a run comes to."""
    digests = {
        "network": code_of(model),
        "method": plugin_digest("methods", config.method, METHOD_NAMES),
        "sliding": plugin_digest("sliding", config.sliding, STRATEGIES),
        "motion": plugin_digest("motions", config.saccade.motion, MOTION_NAMES),
    }
    return {kind: digest for kind, digest in digests.items() if digest is not None}
