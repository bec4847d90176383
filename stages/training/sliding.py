"""Sliding training: how likely a static image is replaced by its recording, as training goes on.

A strategy is any callable from progress in [0, 1) (share of all steps done) to a probability.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ...cache.errors import TrainingError
from ..plugins import find

SlidingStrategy = Callable[[float], float]


class SlidingConfig(Protocol):
    """What strategies read of `TrainConfig`."""

    @property
    def sliding(self) -> str: ...
    @property
    def sliding_exponent(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def options(self) -> dict[str, Any]: ...


def epoch_at(progress: float, num_epochs: int) -> int:
    """The epoch e of E, counted from 0; progress * E is e + b / L up to rounding, which must not fall below e."""
    return math.floor(progress * num_epochs + 1e-6)


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
        return epoch_at(progress, self.num_epochs) / self.num_epochs


@dataclass(frozen=True)
class Step:
    """0 in the epochs before `first_epoch`, counted from 0, then 1."""

    num_epochs: int
    first_epoch: int

    def __call__(self, progress: float) -> float:
        return float(epoch_at(progress, self.num_epochs) >= self.first_epoch)


@dataclass(frozen=True)
class Constant:
    """Always the same probability: 0 keeps every image, 1 replaces all."""

    probability: float

    def __call__(self, progress: float) -> float:
        return self.probability


STRATEGIES: dict[str, Callable[[SlidingConfig], SlidingStrategy]] = {
    "power": lambda config: Power(config.sliding_exponent),
    "linear": lambda config: LinearInEpochs(config.epochs),
    # The released code without sliding: the first epoch after E / 2, in a training of one or two epochs none.
    "step": lambda config: Step(config.epochs, config.epochs // 2 + 1),
    "static": lambda config: Constant(0.0),
    "events": lambda config: Constant(1.0),
}


def sliding_strategy(config: SlidingConfig) -> SlidingStrategy:
    """The strategy that the configuration names, or a user's, which is called with it.

    Raises PluginError: no such strategy. TrainingError: it is not to be called with a configuration.
    """
    factory = find("sliding", config.sliding, STRATEGIES)
    try:
        inspect.signature(factory).bind(config)
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"train.sliding = {config.sliding}: cannot be called with the [train] section ({error}); expected a "
            "function of it that gives a function of progress"
        ) from error
    return factory(config)


def probability_at(strategy: SlidingStrategy, progress: float, name: str) -> float:
    """The strategy's probability; a rounding error outside [0, 1] is taken off.

    name: how the message names the strategy. Raises TrainingError: it cannot be called, or gives no probability.
    """
    if not callable(strategy):
        raise TrainingError(
            f"{name}: expected a function of progress that gives a probability; found an object of type "
            f"{type(strategy).__name__}, which cannot be called"
        )
    found = strategy(progress)
    try:
        probability = math.nan if isinstance(found, str) else float(found)
    except (TypeError, ValueError, RuntimeError):  # the last one of a tensor of several elements
        probability = math.nan
    if not -1e-9 <= probability <= 1 + 1e-9:
        raise TrainingError(f"{name}: expected a probability in [0, 1] at progress {progress:g}; found {found!r:.80}")
    return min(max(probability, 0.0), 1.0)
