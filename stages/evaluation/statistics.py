"""Statistics of evaluations, in one place: plain arrays in, seeded, no files.

A draw is one training of a method: its seed, its labelled subset and, where asked for, its split. Accuracies are shares
in [0, 1]; `correct` (n,): whether one network names recording i rightly, (S, n): those of S draws.

Two things vary, and each has an interval of its own. Over draws: Student's t of the draws' values, which needs at least
`MIN_DRAWS`; it covers the mean over all draws *on these recordings*. Over recordings: a percentile bootstrap of the
recordings with the draws fixed; it covers other recordings *for these networks*. What is alike since it was cut out of
one recording, or is of one group, is resampled together: pieces of a recording are not so many recordings.
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

# With two draws the t distribution has one degree of freedom and no variance: its interval is 13 standard errors wide.
MIN_DRAWS = 3

_RESAMPLES_AT_ONCE = 1_000
# Equal means, and equal differences, are apart by less in floating point: a bound of zero must not count as one above
# it, nor rounding as a spread.
_DECIMALS = 12


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of an accuracy or of a difference of two."""

    low: float
    high: float


@dataclass(frozen=True)
class MeanAndStd:
    """Of n draws. std: of the sample (n - 1 in its denominator); None for one value.

    interval: of the mean over all draws, on the same recordings; None for fewer than `MIN_DRAWS`.
    """

    mean: float
    std: float | None
    n: int
    interval: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """First minus second accuracy, mean of n draws; std: of the draws' own differences, None for one draw.

    draws: the t interval, p: of that t test of no difference, both-sided. recordings: the bootstrap's interval. All
    three are None for fewer than `MIN_DRAWS`; p also of draws that all differ by the same, recordings also where it is
    not known which ones were named rightly.
    """

    difference: float
    std: float | None
    n: int
    draws: Interval | None
    p: float | None
    recordings: Interval | None


@dataclass(frozen=True)
class McNemar:
    """Recordings that only the first, or only the second, names rightly, and the two-sided exact p of no difference."""

    only_a: int
    only_b: int
    p: float


def mean_and_std(values: Sequence[float]) -> MeanAndStd:
    """Of at least one draw. Interval: Student's, mean +- t(n - 1, 0.975) std / sqrt(n)."""
    array = np.asarray(values, np.float64)
    mean, n, interval = float(array.mean()), len(array), None
    std = float(array.std(ddof=1)) if n > 1 else None
    if std is not None and n >= MIN_DRAWS:
        reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * float(std / np.sqrt(n))
        interval = Interval(mean - reach, mean + reach)
    return MeanAndStd(mean, std, n, interval)


def paired_difference(
    accuracies_a: Sequence[float], accuracies_b: Sequence[float], recordings: Interval | None = None
) -> PairedDifference:
    """Of two methods' accuracies; those at one place are of one draw, on the same recordings.

    recordings: as `recordings_interval` found it. Draws that all differ by the same have an interval of no width, and
    no p but where that is 0: the test knows no spread.
    Raises ValueError when the lengths differ.
    """
    first, second = np.asarray(accuracies_a, np.float64), np.asarray(accuracies_b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired methods must have the same draws; found {len(first)} and {len(second)}")
    found, p = mean_and_std((first - second).tolist()), None
    if found.interval is None:
        recordings = None
    elif found.std and found.std > 10.0**-_DECIMALS:
        p = float(2 * stats.t.sf(abs(found.mean) / found.std * np.sqrt(found.n), found.n - 1))
    elif abs(found.mean) < 10.0**-_DECIMALS:
        p = 1.0
    return PairedDifference(found.mean, found.std, found.n, found.interval, p, recordings)


def recordings_interval(
    correct_a: Sequence[NDArray[Any]],
    correct_b: Sequence[NDArray[Any]],
    classes: NDArray[Any] | None = None,
    *,
    ids: Sequence[Sequence[str]] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval, over recordings, of the mean accuracy of `correct_a` less that of `correct_b`.

    Each a draw's (n,) at one place, the i-th of both of one recording. With `classes`, as long as all draws in a
    row: of the mean per-class accuracies, each class resampled by itself. ids: of the recordings of each draw, where
    draws have other ones; a recording of several draws is resampled with all that they said of it. Rows of a draw with
    one id are pieces of one recording, or of one group: then whole ids are resampled, those of all classes together
    (a class mean is of the classes that a resample has).
    """
    differences = np.concatenate(
        [np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in zip(correct_a, correct_b, strict=True)]
    )
    lengths = [len(a) for a in correct_a]
    names = [np.arange(n) for n in lengths] if ids is None else [np.asarray(own) for own in ids]
    draw, recording = np.repeat(np.arange(len(lengths)), lengths), np.concatenate(names)
    group = np.zeros(len(draw)) if classes is None else np.asarray(classes)
    of_classes = [np.flatnonzero(group == name) for name in np.unique(group)]
    stand_alone = all(len(np.unique(own)) == len(own) for own in names)
    strata = [[rows] for rows in of_classes] if stand_alone else [of_classes]
    patterns = [_patterns(stratum, recording, draw, differences) for stratum in strata]
    rng = np.random.default_rng(seed)
    means = np.zeros(num_resamples)
    for first in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        resamples = slice(first, min(first + _RESAMPLES_AT_ONCE, num_resamples))
        for values, counts in patterns:  # how often each pattern occurs, instead of which recordings have it
            total = counts.sum()
            drawn = rng.multinomial(total, counts / total, resamples.stop - first)
            summed, weight = np.split(drawn @ values, 2, axis=1)
            with np.errstate(invalid="ignore"):  # 0 / 0: a class of which a resample has nothing
                by_class = summed / weight
            mean = by_class[:, 0] if stand_alone else np.nanmean(by_class, axis=1)
            means[resamples] += mean / len(patterns)
    low, high = np.quantile(means.round(_DECIMALS), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _patterns(
    of_classes: Sequence[NDArray[Any]], recording: NDArray[Any], draw: NDArray[Any], differences: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What recordings (or groups) add to the mean of each of k classes, (n, 2 k): the weighted differences, then the
    weights; and how many have it, (n,). of_classes: the rows of each class."""
    names = np.unique(recording[np.concatenate(of_classes)])
    summed, weight = [], []
    for rows in of_classes:
        index = np.searchsorted(names, recording[rows])
        weights = 1 / np.bincount(draw[rows])[draw[rows]]  # each draw's recordings count for one draw
        summed.append(np.bincount(index, weights * differences[rows], len(names)))
        weight.append(np.bincount(index, weights, len(names)))
    values, counts = np.unique(np.stack(summed + weight, axis=1).round(_DECIMALS), axis=0, return_counts=True)
    return values, counts


def bootstrap_interval(
    correct: NDArray[Any],
    classes: NDArray[Any] | None = None,
    *,
    ids: Sequence[str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The same of the accuracy of one `correct` (n,). One of 0 or 1 has an interval of no width: a resample holds
    nothing that the sample does not."""
    of, nothing = None if ids is None else [ids], np.zeros(len(correct))
    return recordings_interval([correct], [nothing], classes, ids=of, num_resamples=num_resamples, seed=seed)


def mcnemar(correct_a: NDArray[Any], correct_b: NDArray[Any]) -> McNemar:
    """Exact test (McNemar, Psychometrika 1947) of two runs (n,) on the same recordings, by those they disagree on."""
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))
