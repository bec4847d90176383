"""Statistics of evaluations, in one place: plain arrays in, seeded, no files.

`correct` (S, n): whether the run of seed s names recording i rightly; (n,) is one run. Accuracies are shares in [0, 1].

The bootstrap resamples recordings and, where there are several, seeds, each with replacement and independently of the
other (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

NUM_RESAMPLES = 10_000
LEVEL = 0.95

_RESAMPLES_AT_ONCE = 1_000
# Equal means summed in another order differ by less: a mean of zero must not count as one below it.
_DECIMALS = 12


@dataclass(frozen=True)
class MeanAndStd:
    """std: of the sample (n - 1 in its denominator); None for one value."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of an accuracy."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """First minus second accuracy, its 95 % interval, and the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Recordings that only the first, or only the second, names rightly, and the two-sided exact p of no difference."""

    only_a: int
    only_b: int
    p: float


def mean_and_std(values: Sequence[float]) -> MeanAndStd:
    """Mean and sample standard deviation of at least one value."""
    array = np.asarray(values, np.float64)
    return MeanAndStd(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None, len(array))


def bootstrap_interval(
    correct: NDArray[Any],
    classes: NDArray[Any] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the accuracy of `correct` (S, n) or (n,).

    With `classes` (n,): of the mean of the classes' own accuracies, each class resampled by itself. An accuracy of 0 or
    1 has an interval of no width: a resample holds nothing that the sample does not.
    """
    resampled = _resampled_means(np.atleast_2d(correct), classes, num_resamples, seed)
    return Interval(*_percentiles(resampled))


def paired_difference(
    correct_a: NDArray[Any],
    correct_b: NDArray[Any],
    classes: NDArray[Any] | None = None,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Accuracy of `correct_a` (S, n) minus that of `correct_b` (S, n): row s is of one seed, column i one recording.

    With `classes` (n,): difference of the mean per-class accuracies. p: twice the share of resamples on the other side
    of zero, or on it, the sample itself counted as one of them; it is below 0.05 where the interval leaves zero out.
    Raises ValueError when the shapes differ.
    """
    first, second = np.atleast_2d(correct_a).astype(np.int8), np.atleast_2d(correct_b).astype(np.int8)
    if first.shape != second.shape:
        raise ValueError(f"paired runs must have the same seeds and recordings; found {first.shape}, {second.shape}")
    differences = first - second
    resampled = _resampled_means(differences, classes, num_resamples, seed)
    beyond = min(np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0))
    low, high = _percentiles(resampled)
    difference = float(np.mean([differences[:, rows].mean() for rows in _members(differences, classes)]))
    return PairedDifference(difference, low, high, float(min(1.0, 2 * (beyond + 1) / (num_resamples + 1))))


def mcnemar(correct_a: NDArray[Any], correct_b: NDArray[Any]) -> McNemar:
    """Exact test (McNemar, Psychometrika 1947) of two runs (n,) on the same recordings, by those they disagree on."""
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))


def _resampled_means(
    values: NDArray[Any], classes: NDArray[Any] | None, num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """(num_resamples,) means of values (S, n), or means of class means, over resampled seeds and recordings."""
    rng = np.random.default_rng(seed)
    patterns = [np.unique(values[:, rows], axis=1, return_counts=True) for rows in _members(values, classes)]
    parts = [
        _draw_means(patterns, min(_RESAMPLES_AT_ONCE, num_resamples - done), rng)
        for done in range(0, num_resamples, _RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(parts).round(_DECIMALS)


def _draw_means(
    patterns: list[tuple[NDArray[Any], NDArray[np.int64]]], num_resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draws how often each pattern occurs instead of which recordings: those of one pattern (S,) are alike."""
    num_seeds = len(patterns[0][0])
    means = np.zeros((num_resamples, num_seeds))
    for values, counts in patterns:
        total = counts.sum()
        means += rng.multinomial(total, counts / total, num_resamples) @ values.T / (total * len(patterns))
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_resamples) / num_seeds
    mean: NDArray[np.float64] = (means * seeds).sum(1)
    return mean


def _members(values: NDArray[Any], classes: NDArray[Any] | None) -> list[NDArray[np.intp]]:
    """The columns of each class that has some; without classes one group of all."""
    if classes is None:
        return [np.arange(values.shape[1])]
    return [np.flatnonzero(classes == name) for name in np.unique(classes)]


def _percentiles(resampled: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
