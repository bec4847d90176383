"""Mixing along time (TMKT, Xie et al., arXiv 2509.12959): a sequence begins as a photo and ends as its recording.

Theirs: the step from which on the recording is shown, drawn for each sample of the static branch in place of sliding; a
classifier that names the source of each step; a regression of how much of a sequence is recording. Their code is not
published. Ours: that the rest is the loss of `transfer`; the share in force, which stays the same; that classifier and
regression are one linear layer each on the features to align (of each step, and of their mean); their losses' weights.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import torch
from pydantic import Field
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional as F

from ....cache.documents import Frozen
from ....cache.paired import PairedCache
from ....cache.pairs import Reach
from ...network.networks import NUM_POLARITIES, SpikingNetwork
from ..config import TrainConfig
from ..losses import LossParts
from ..sliding import Constant, SlidingStrategy
from . import MixedPrecision, Shown, options_of
from .transfer import Transfer


class TimestepMixupOptions(Frozen):
    ratio: float = Field(0.5, gt=0, lt=1, description="expected share of a sequence's steps that show the recording")
    guidance_weight: float = Field(
        0.1, ge=0, description="weight of naming each step's source, photo or recording; 0: without"
    )
    perception_weight: float = Field(
        0.1, ge=0, description="weight of estimating a sequence's share of recording; 0: without"
    )


class TimestepMixup(Transfer):
    """At each step a photo gives way to its recording with the same probability, and from then on for good."""

    Options = TimestepMixupOptions

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.options = cast(TimestepMixupOptions, options_of(config))

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        recorded = self._recorded(shown)
        mixed = torch.where(recorded[:, :, None, None, None], shown.events, shown.photos())
        branches = self.branches(network, mixed, shown)
        loss = branches.loss
        if network.auxiliary is not None:
            layers = cast(Perception, network.auxiliary)
            loss = loss._replace(total=loss.total + self._perceived(layers, branches.static_features, recorded.float()))
        return loss, branches.logits

    def _recorded(self, shown: Shown) -> Tensor:
        """Which steps (T, B) show the recording: all from the first one on whose draw is below the probability."""
        assert shown.generator is not None
        num_steps, batch_size = shown.events.shape[:2]
        draws = torch.rand(
            num_steps, batch_size, generator=shown.generator("mixup"), device=shown.events.device, dtype=torch.float32
        )
        return (draws < replacement_probability(self.options.ratio, num_steps)).int().cumsum(0) > 0

    def _perceived(self, layers: Perception, features: Tensor, recorded: Tensor) -> Tensor:
        """The weighted losses of source and share, of features (T, B, D) and recorded (T, B), 0 or 1."""
        source = layers.source(features).squeeze(-1)
        share = layers.share(features.mean(0)).squeeze(-1).sigmoid()
        named = F.binary_cross_entropy_with_logits(source, recorded)
        estimated = F.mse_loss(share, recorded.mean(0))
        return self.options.guidance_weight * named + self.options.perception_weight * estimated

    def auxiliary(self, network: SpikingNetwork, split: PairedCache) -> nn.Module | None:
        if self.options.guidance_weight == self.options.perception_weight == 0:
            return None
        return Perception(_num_features(network, split.size))

    def sliding(self) -> SlidingStrategy:
        return Constant(0.0)  # mixing takes its place

    def shown_photos(self, in_pool: Reach) -> Reach:
        return in_pool


class Perception(nn.Module):
    """What reads the source and the share of the recording off features (..., D)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.source = nn.Linear(num_features, 1)
        self.share = nn.Linear(num_features, 1)


@lru_cache
def replacement_probability(ratio: float, num_steps: int) -> float:
    """p, with which each of T steps is the first of the recording, so that it fills a share `ratio` of them on average.

    Step t = 1 ... T shows it with probability 1 - q^t, q = 1 - p, hence T - q (1 - q^T) / p = ratio T. (The sum is
    solved as it stands: it is exact for a small p, too.)
    """

    def excess(p: float) -> float:
        return sum(1 - (1 - p) ** step for step in range(1, num_steps + 1)) / num_steps - ratio

    return float(brentq(excess, 0.0, 1.0, xtol=1e-12))


@torch.no_grad()
def _num_features(network: SpikingNetwork, size: int) -> int:
    """D of the features to align (T, B, D), which only a network knows that was shown frames."""
    was_training = network.training
    network.eval()
    frames = network.coefficients.new_zeros(len(network.coefficients), 1, NUM_POLARITIES, size, size)
    _, features = network.with_features(frames, "event")
    network.train(was_training)
    return features.shape[-1]
