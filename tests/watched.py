"""A step of a method on a tiny network, with what each of its branches was shown and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tiny_networks import NETWORKS, tiny_network
from tiny_run import changed
from tiny_split import open_tiny_split
from torch import Tensor

from dvs_transfer.stages.network.layers import Domain
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.losses import LossParts
from dvs_transfer.stages.training.methods import MixedPrecision, Shown, auxiliary_of, method_of


@dataclass(frozen=True)
class Watched(MixedPrecision):
    """calls: (frames, domain, logits, features) of each call of the network."""

    calls: list[tuple[Tensor, Domain, Tensor, Tensor]] = field(default_factory=list)

    def with_features(self, frames: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        logits, features = super().with_features(frames, domain)
        self.calls.append((frames, domain, logits, features))
        return logits, features


def watched_network(config: TrainConfig) -> Watched:
    """A network in training mode, and what the configuration's method needs beside it."""
    network = tiny_network(NETWORKS["vgg_snn"]).train()
    return Watched(network, "float32", auxiliary_of(method_of(config), network, open_tiny_split("train")))


def stepped(given: Shown, **changes: Any) -> tuple[tuple[LossParts, Tensor], Watched, TrainConfig]:
    """What a method's `loss` gives, the network that was watched, and the settings."""
    config = changed(**changes)
    watched = watched_network(config)
    return method_of(config).loss(watched, given), watched, config
