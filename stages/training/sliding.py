"""Sliding training: how likely a static image is replaced by its recording, as training goes on.

A strategy is any callable from progress in [0, 1) (share of all steps done) to a probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .config import TrainConfig

SlidingStrategy = Callable[[float], float]


@dataclass(frozen=True)
class Power:
    """progress ** exponent; the method's exponent is 3."""

    exponent: float

    def __call__(self, progress: float) -> float:
        return math.pow(progress, self.exponent)


@dataclass(frozen=True)
class LinearInEpochs:
    """e / E throughout epoch e of E."""

    num_epochs: int

    def __call__(self, progress: float) -> float:
        # progress * E is e + b / L up to rounding, which must not fall below e
        return math.floor(progress * self.num_epochs + 1e-6) / self.num_epochs


@dataclass(frozen=True)
class Step:
    """0 until `at`, then 1; what the released code does without sliding."""

    at: float = 0.5

    def __call__(self, progress: float) -> float:
        return float(progress >= self.at)


@dataclass(frozen=True)
class Constant:
    """Always the same probability: 0 keeps every image, 1 replaces all."""

    probability: float

    def __call__(self, progress: float) -> float:
        return self.probability


# A new strategy is a line here and a name in `TrainConfig.sliding`.
STRATEGIES: dict[str, Callable[[TrainConfig], SlidingStrategy]] = {
    "power": lambda config: Power(config.sliding_exponent),
    "linear": lambda config: LinearInEpochs(config.epochs),
    "step": lambda config: Step(),
    "static": lambda config: Constant(0.0),
    "events": lambda config: Constant(1.0),
}


def sliding_strategy(config: TrainConfig) -> SlidingStrategy:
    """The strategy that the configuration names; fine-tuning goes from images to recordings in one step of its own."""
    if config.method == "finetune":
        return Step(config.num_pretrain_epochs / config.epochs)
    return STRATEGIES[config.sliding](config)
