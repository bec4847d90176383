"""The statistics of an experiment's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
NUM_RESAMPLES = 4000
_CHUNK = 500


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; None of a single value) of n values."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of two accuracies, and its 95 % interval."""

    difference: float
    low: float
    high: float


def mean_and_std(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def paired_difference(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> PairedDifference:
    """Accuracy of a less that of b, each (S, n): S seeds, n test recordings, paired in both.

    The interval is the percentile interval of a bootstrap that draws seeds and recordings with replacement,
    independently of each other, and keeps the pairs together (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1, 2007). It covers the choice of the seeds and that of the recordings; with one seed the latter alone.
    """
    if correct_a.shape != correct_b.shape:
        raise ValueError(f"paired outcomes must have the same shape, they have {correct_a.shape} and {correct_b.shape}")
    differences = correct_a.astype(np.float64) - correct_b
    num_seeds, num_samples = differences.shape
    rng = np.random.default_rng(seed)
    drawn: list[float] = []
    while len(drawn) < num_resamples:
        count = min(_CHUNK, num_resamples - len(drawn))
        seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), count) / num_seeds
        samples = rng.multinomial(num_samples, np.full(num_samples, 1 / num_samples), count) / num_samples
        drawn += ((seeds @ differences) * samples).sum(1).tolist()
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return PairedDifference(float(differences.mean()), float(low), float(high))
