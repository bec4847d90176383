"""The statistics against scipy, closed forms, and data whose true accuracy is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from dvs_transfer.stages.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    mcnemar,
    mean_and_std,
    paired_difference,
)


def test_mean_and_sample_standard_deviation() -> None:
    result = mean_and_std([0.7, 0.8, 0.9])
    assert (result.mean, result.std, result.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert (mean_and_std([0.5]).std, mean_and_std([0.5]).n) == (None, 1)


def test_interval_is_the_binomial_s() -> None:
    """Resampled means of 0 and 1 are binomial, so that their percentiles are known."""
    interval = bootstrap_interval(np.arange(200) < 130, num_resamples=100_000)
    low, high = stats.binom(200, 0.65).ppf([0.025, 0.975]) / 200
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))


def test_interval_is_scipy_s() -> None:
    correct = np.random.default_rng(1).random(150) < 0.8
    expected = stats.bootstrap((correct,), np.mean, method="percentile", rng=np.random.default_rng(2))
    interval = bootstrap_interval(correct)
    assert interval.low == pytest.approx(expected.confidence_interval.low, abs=0.01)
    assert interval.high == pytest.approx(expected.confidence_interval.high, abs=0.01)


def test_interval_over_classes_is_scipy_s_of_several_samples() -> None:
    rng = np.random.default_rng(3)
    sizes, accuracies = (60, 10, 25), (0.9, 0.3, 0.6)
    groups = [rng.random(size) < accuracy for size, accuracy in zip(sizes, accuracies, strict=True)]

    def mean_of_means(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([sample.mean(axis) for sample in samples], axis=0)

    expected = stats.bootstrap(groups, mean_of_means, method="percentile", rng=np.random.default_rng(4))
    shuffled = rng.permutation(sum(sizes))
    interval = bootstrap_interval(np.concatenate(groups)[shuffled], np.repeat([7, 1, 4], sizes)[shuffled])
    assert interval.low == pytest.approx(expected.confidence_interval.low, abs=0.012)
    assert interval.high == pytest.approx(expected.confidence_interval.high, abs=0.012)


def test_the_same_seed_gives_the_same_interval_and_edges_have_no_width() -> None:
    correct = np.arange(50) % 3 > 0
    assert bootstrap_interval(correct) == bootstrap_interval(correct)
    assert bootstrap_interval(correct, num_resamples=99) != bootstrap_interval(correct, num_resamples=99, seed=1)
    assert bootstrap_interval(np.ones(9, bool)) == Interval(1.0, 1.0)
    assert bootstrap_interval(np.zeros(1, bool), np.zeros(1)) == Interval(0.0, 0.0)


@pytest.mark.parametrize("by_class", [False, True])
def test_difference_of_one_seed_is_scipy_s_paired_bootstrap(by_class: bool) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random(120) < 0.8, rng.random(120) < 0.7
    options = {"paired": True, "method": "percentile", "vectorized": False, "n_resamples": 3000}
    rng = np.random.default_rng(6)
    expected = stats.bootstrap((a, b), lambda x, y: x.mean() - y.mean(), **options, rng=rng)
    result = paired_difference(a, b, np.zeros(120) if by_class else None)
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert result.low == pytest.approx(expected.confidence_interval.low, abs=0.015)
    assert result.high == pytest.approx(expected.confidence_interval.high, abs=0.015)


def test_difference_by_class_weighs_each_class_alike() -> None:
    """Two of three recordings of one class, none of one of the other."""
    a, b = np.array([[1, 1, 0, 1]]), np.array([[0, 0, 0, 1]])
    classes = np.array(["x", "x", "x", "y"])
    assert paired_difference(a, b).difference == pytest.approx(0.5)
    assert paired_difference(a, b, classes).difference == pytest.approx(1 / 3)


def test_seeds_that_disagree_widen_the_interval() -> None:
    """Three seeds, of which one is better by 0.2 and the others are not: the recordings alone do not tell."""
    b = np.tile(np.arange(1000) < 600, (3, 1))
    a = b.copy()
    a[0] = np.arange(1000) < 800
    wide = paired_difference(a, b)
    same = paired_difference(np.tile(np.arange(1000) < 667, (3, 1)), b)
    assert wide.high - wide.low > 3 * (same.high - same.low)
    assert wide.low == 0
    assert wide.p > 0.05 > same.p


def test_p_of_no_difference_and_of_a_plain_one() -> None:
    correct = np.random.default_rng(6).random((3, 80)) < 0.5
    assert paired_difference(correct, correct).p == 1
    assert paired_difference(correct, np.zeros_like(correct)).p == pytest.approx(2 / 10_001)
    forth, back = paired_difference(correct, correct[::-1]), paired_difference(correct[::-1], correct)
    assert forth.difference == -back.difference


def test_runs_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same seeds and recordings; found \(3, 8\), \(2, 8\)"):
        paired_difference(np.ones((3, 8)), np.ones((2, 8)))


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    a, b = np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 1, 1, 0])
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (5, 1)
    assert result.p == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(a, a).p == 1
    assert mcnemar(b, a).p == result.p


def draw(rng: np.random.Generator, difficulty: np.ndarray, num_seeds: int, seed_spread: float, shift: float):
    """Correctness (S, n) of the runs of one method on recordings of these difficulties."""
    luck = seed_spread * rng.normal(size=(num_seeds, 1))
    return rng.random((num_seeds, len(difficulty))) < expit(shift + difficulty + luck)


def true_accuracy(seed_spread: float, shift: float) -> float:
    """The mean of `draw` over all seeds and recordings of difficulty N(0, 2), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights * expit(shift + np.hypot(2, seed_spread) * nodes)).sum() / weights.sum())


def test_the_interval_of_an_accuracy_covers_it_95_times_of_100() -> None:
    rng = np.random.default_rng(7)
    truth = true_accuracy(0, 1.0)
    hits = 0
    for trial in range(400):
        correct = draw(rng, 2 * rng.normal(size=300), 1, 0, 1.0)
        interval = bootstrap_interval(correct, num_resamples=1000, seed=trial)
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize(("num_seeds", "seed_spread", "low", "high"), [(1, 0, 0.92, 0.98), (3, 0.1, 0.95, 1.0)])
def test_the_interval_of_a_difference_covers_it(num_seeds: int, seed_spread: float, low: float, high: float) -> None:
    """With seeds that differ by a point or two of accuracy (0.1) it is rather too wide, as Owen says."""
    rng = np.random.default_rng(8)
    truth = true_accuracy(seed_spread, 1.0) - true_accuracy(seed_spread, 0.6)
    hits = 0
    for trial in range(400):
        difficulty = 2 * rng.normal(size=300)
        better, worse = (draw(rng, difficulty, num_seeds, seed_spread, shift) for shift in (1.0, 0.6))
        result = paired_difference(better, worse, num_resamples=1000, seed=trial)
        hits += result.low <= truth <= result.high
    assert low <= hits / 400 <= high
