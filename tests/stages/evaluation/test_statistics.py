"""The statistics against scipy, closed forms, and data whose true accuracy is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from dvs_transfer.stages.evaluation.statistics import (
    MIN_DRAWS,
    Interval,
    PairedDifference,
    bootstrap_interval,
    mcnemar,
    mean_and_std,
    paired_difference,
    recordings_interval,
)


def test_mean_and_sample_standard_deviation() -> None:
    result = mean_and_std([0.7, 0.8, 0.9])
    assert (result.mean, result.std, result.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert result.interval is not None
    expected = stats.ttest_1samp([0.7, 0.8, 0.9], 0).confidence_interval(0.95)
    assert (result.interval.low, result.interval.high) == pytest.approx((expected.low, expected.high))
    assert (mean_and_std([0.5]).std, mean_and_std([0.5]).n) == (None, 1)
    assert (mean_and_std([0.5, 0.6]).n, mean_and_std([0.5, 0.6]).interval) == (2, None)


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


@pytest.mark.parametrize("num_draws", [3, 5, 10])
def test_difference_over_draws_is_scipy_s_paired_t_test(num_draws: int) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.8, 0.05, num_draws), rng.normal(0.75, 0.05, num_draws)
    test = stats.ttest_rel(a, b)
    result = paired_difference(a.tolist(), b.tolist(), Interval(0.01, 0.02))
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert result.std == pytest.approx((a - b).std(ddof=1))
    assert result.draws is not None
    expected = test.confidence_interval(0.95)
    assert (result.draws.low, result.draws.high) == pytest.approx((expected.low, expected.high))
    assert result.p == pytest.approx(test.pvalue)
    assert (result.n, result.recordings) == (num_draws, Interval(0.01, 0.02))


@pytest.mark.parametrize("num_draws", range(1, MIN_DRAWS))
def test_few_draws_have_a_difference_and_nothing_to_judge_it_by(num_draws: int) -> None:
    result = paired_difference([0.9] * num_draws, [0.5] * num_draws, Interval(0.3, 0.5))
    assert result == PairedDifference(
        pytest.approx(0.4), pytest.approx(0) if num_draws > 1 else None, num_draws, *[None] * 3
    )


def test_draws_that_do_not_differ() -> None:
    nothing = paired_difference([0.5, 0.75, 1.0], [0.5, 0.75, 1.0])
    assert (nothing.draws, nothing.p) == (Interval(0, 0), 1)
    same = paired_difference([0.75] * 3, [0.5] * 3)
    assert (same.draws, same.p) == (Interval(0.25, 0.25), None)
    for k in range(1, 20):  # shares that are not exact in binary
        rounded = paired_difference([(n + k) / 228 for n in range(100, 105)], [n / 228 for n in range(100, 105)])
        assert (rounded.difference, rounded.p) == (pytest.approx(k / 228), None)


@pytest.mark.parametrize("by_class", [False, True])
def test_interval_over_recordings_is_scipy_s_paired_bootstrap(by_class: bool) -> None:
    """Of several draws: recordings are drawn with all that the networks said of them, and the networks stay."""
    rng = np.random.default_rng(5)
    a, b = rng.random((3, 120)) < 0.8, rng.random((3, 120)) < 0.7
    options = {"paired": True, "method": "percentile", "vectorized": False, "n_resamples": 3000}
    rng = np.random.default_rng(6)
    expected = stats.bootstrap((a.mean(0), b.mean(0)), lambda x, y: x.mean() - y.mean(), **options, rng=rng)
    result = recordings_interval(a, b, np.zeros(360) if by_class else None)
    assert result.low == pytest.approx(expected.confidence_interval.low, abs=0.01)
    assert result.high == pytest.approx(expected.confidence_interval.high, abs=0.01)


def test_interval_over_recordings_by_class_weighs_each_class_alike() -> None:
    """Two of three recordings of one class, all of one of the other: the mean lies between 1/2 and 1."""
    a, b = np.array([[1, 1, 0, 1]]), np.array([[0, 0, 0, 0]])
    result = recordings_interval(a, b, np.array(["x", "x", "x", "y"]))
    assert (result.low, result.high) == (0.5, 1)  # none or all of the three
    assert recordings_interval(a, b).low == pytest.approx(0.25)


def test_recordings_of_other_draws_are_drawn_by_themselves() -> None:
    """Four draws on recordings of their own are four times as many recordings: half the width."""
    rng = np.random.default_rng(3)
    a, b = np.tile(rng.random(200) < 0.8, (4, 1)), np.tile(rng.random(200) < 0.6, (4, 1))
    named = [[f"{draw}/{i}" for i in range(200)] for draw in range(4)]
    shared, again, own = (recordings_interval(a, b, ids=ids) for ids in (None, named[:1] * 4, named))
    assert shared == again
    assert (own.high - own.low) / (shared.high - shared.low) == pytest.approx(0.5, abs=0.03)
    assert (own.high + own.low) / 2 == pytest.approx(a.mean() - b.mean(), abs=0.01)


@pytest.mark.parametrize(("share", "num_draws"), [(0.1, 5), (0.4, 5), (0.4, 10)])
def test_interval_over_recordings_of_splits_that_overlap_covers_95_times_of_100(share: float, num_draws: int) -> None:
    """Each draw tests its own share of 600 recordings, so many recordings are of several draws."""
    rng = np.random.default_rng(12)
    num, hits, trials = 600, 0, 400
    for _ in range(trials):
        right = rng.random((2, num))  # how likely each method names each recording rightly; on the whole alike
        rows = [rng.permutation(num)[: int(share * num)] for _ in range(num_draws)]
        a, b = ([rng.random(len(own)) < likely[own] for own in rows] for likely in right)
        interval = recordings_interval(a, b, ids=[[str(i) for i in own] for own in rows], num_resamples=1000)
        hits += interval.low <= 0 <= interval.high
    assert 0.92 <= hits / trials <= 0.97


def test_interval_over_recordings_ends_at_zero_where_nothing_differs() -> None:
    correct = np.random.default_rng(6).random((3, 80)) < 0.5
    assert recordings_interval(correct, correct) == Interval(0, 0)
    rolled = recordings_interval(correct, correct[::-1])
    assert (rolled.low, rolled.high) == (0, 0)  # the same networks in another order


def test_methods_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same draws; found 3 and 2"):
        paired_difference([0.5] * 3, [0.5] * 2)


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    a, b = np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 1, 1, 0])
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (5, 1)
    assert result.p == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(a, a).p == 1
    assert mcnemar(b, a).p == result.p


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
NUM_RECORDINGS = 300
LUCK = 0.41  # of a draw, in logits: accuracies that spread by 6 points, and by what chance at the recordings adds


def draw(rng: np.random.Generator, difficulty: np.ndarray, num_draws: int, luck: float, shift: float) -> np.ndarray:
    """Correctness (..., S, n) of the draws of one method on recordings of these difficulties (..., n).

    A draw is good or bad as a whole, by its luck; beyond that it names each recording rightly by chance.
    """
    logits = shift + difficulty[..., None, :] + luck * rng.normal(size=(*difficulty.shape[:-1], num_draws, 1))
    return rng.random(logits.shape) < expit(logits)


def mean_over_draws(difficulty: np.ndarray, luck: float, shift: float) -> np.ndarray:
    """The accuracy (...) on these recordings (..., n) of the mean over all draws of `draw`, by quadrature."""
    rightly = sum(weight * expit(shift + difficulty + luck * node) for node, weight in zip(NODES, WEIGHTS, strict=True))
    return rightly.mean(-1) / WEIGHTS.sum()


def mean_over_all(luck: float, shift: float) -> float:
    """The same over all recordings of difficulty N(0, 2) too."""
    return float((WEIGHTS * expit(shift + np.hypot(2, luck) * NODES)).sum() / WEIGHTS.sum())


def covered(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> float:
    """The share of simulated experiments, accuracies a and b (trials, S), whose interval over draws holds the truth."""
    results = [paired_difference(x.tolist(), y.tolist()).draws for x, y in zip(a, b, strict=True)]
    return float(np.mean([result.low <= value <= result.high for result, value in zip(results, truth, strict=True)]))


@pytest.mark.parametrize("num_draws", [3, 5, 10])
def test_the_interval_over_draws_covers_no_difference_95_times_of_100(num_draws: int) -> None:
    """Two methods that are alike: draws that spread by 6 points, and chance at each of 300 recordings that all share.

    What is covered is the difference of the means over all draws on these recordings; here it is 0.
    """
    rng = np.random.default_rng(8)
    trials = 3000
    difficulty = 2 * rng.normal(size=(trials, NUM_RECORDINGS))
    a, b = (draw(rng, difficulty, num_draws, LUCK, 0.6).mean(-1) for _ in range(2))
    assert np.sqrt(a.var(axis=1, ddof=1).mean()) == pytest.approx(np.hypot(0.06, 0.023), abs=0.003)
    assert 0.93 <= covered(a, b, np.zeros(trials)) <= 0.97


def test_the_interval_over_draws_covers_the_difference_on_these_recordings() -> None:
    """Methods that differ, in what they find difficult too; and a draw's luck is of both, as of one labelled subset."""
    rng = np.random.default_rng(9)
    trials, num_draws = 2000, 5
    common = 2 * rng.normal(size=(trials, 1, NUM_RECORDINGS))
    own = rng.normal(size=(2, trials, 1, NUM_RECORDINGS))
    shared_luck = rng.normal(size=(trials, num_draws, 1))
    a, b = (
        (
            rng.random((trials, num_draws, NUM_RECORDINGS)) < expit(shift + common + difficulty + LUCK * shared_luck)
        ).mean(-1)
        for shift, difficulty in zip((1.0, 0.6), own, strict=True)
    )
    means = [
        mean_over_draws((common + difficulty)[:, 0], LUCK, shift)
        for shift, difficulty in zip((1.0, 0.6), own, strict=True)
    ]
    assert 0.93 <= covered(a, b, means[0] - means[1]) <= 0.97


def test_each_interval_speaks_of_its_own_kind_of_chance() -> None:
    """Many draws on few recordings: the one over draws often leaves out what other recordings would show, and the
    bootstrap covers that; few lucky draws on many recordings: the other way round."""
    rng = np.random.default_rng(10)
    trials, luck = 400, 0.05
    common, own = 2 * rng.normal(size=(trials, 60)), 2 * rng.normal(size=(2, trials, 60))
    a, b = (draw(rng, common + difficulty, 10, luck, 0.6) for difficulty in own)
    assert covered(a.mean(-1), b.mean(-1), np.zeros(trials)) < 0.75
    assert share_of_recordings_intervals_over_zero(a, b) > 0.9
    easy = np.zeros((trials, 1000))
    a, b = (draw(rng, easy, 3, LUCK, 0.6) for _ in range(2))
    assert covered(a.mean(-1), b.mean(-1), np.zeros(trials)) > 0.93
    assert share_of_recordings_intervals_over_zero(a, b) < 0.6


@pytest.mark.parametrize(("num_draws", "wrong"), [(3, 0.051), (5, 0.054), (10, 0.077)])
def test_how_often_both_intervals_are_wrong_about_other_draws_on_other_recordings(num_draws: int, wrong: float) -> None:
    """Methods that do not differ on the whole, and find other recordings difficult. The figures are in docs/runs.md."""
    rng = np.random.default_rng(11)
    trials = 1000
    common, own = 2 * rng.normal(size=(trials, 240)), rng.normal(size=(2, trials, 240))
    a, b = (draw(rng, common + difficulty, num_draws, LUCK, 0.6) for difficulty in own)
    excluded = 0
    for x, y in zip(a, b, strict=True):
        over_draws = paired_difference(x.mean(-1).tolist(), y.mean(-1).tolist()).draws
        over_recordings = recordings_interval(x, y, num_resamples=1000)
        assert over_draws is not None
        excluded += all(not interval.low <= 0 <= interval.high for interval in (over_draws, over_recordings))
    assert excluded / trials == pytest.approx(wrong, abs=0.01)


@pytest.mark.parametrize("by_class", [False, True])
def test_pieces_of_a_recording_are_no_recordings_of_their_own(by_class: bool) -> None:
    """40 recordings of 20 pieces, and a share for each recording: the interval holds the true share nearly as often as
    it says, where each piece for itself gives half of that."""
    rng, of = np.random.default_rng(5), np.repeat(np.arange(40), 20)
    ids, classes = [f"recording {number}" for number in of], of % 4 if by_class else None
    held = np.zeros(2)
    for _ in range(200):
        correct = rng.random(len(of)) < rng.beta(0.7, 0.3, 40)[of]
        found = [bootstrap_interval(correct, classes, ids=named, num_resamples=500) for named in (None, ids)]
        held += [interval.low <= 0.7 <= interval.high for interval in found]
    assert held[0] / 200 < 0.6
    assert 0.89 <= held[1] / 200 <= 0.98


def test_whole_groups_are_resampled_and_a_class_mean_is_of_the_classes_that_are_there() -> None:
    """Three groups of which one is of two classes, against all 27 resamples."""
    ids, classes = list("aabbbc"), np.array([0, 1, 1, 1, 1, 2])
    correct = np.array([1, 0, 1, 1, 0, 1], bool)
    for by in (np.zeros(6), classes):
        means = []
        for drawn in product("abc", repeat=3):
            rows = np.array([row for name in drawn for row in range(6) if ids[row] == name])
            means.append(np.mean([correct[rows][by[rows] == label].mean() for label in np.unique(by[rows])]))
        interval = bootstrap_interval(correct, by, ids=ids, num_resamples=20_000)
        low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
        assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def share_of_recordings_intervals_over_zero(a: np.ndarray, b: np.ndarray) -> float:
    intervals = [recordings_interval(x, y, num_resamples=1000) for x, y in zip(a, b, strict=True)]
    return float(np.mean([interval.low <= 0 <= interval.high for interval in intervals]))


def test_the_interval_of_an_accuracy_covers_it_95_times_of_100() -> None:
    rng = np.random.default_rng(7)
    truth = mean_over_all(0, 1.0)
    hits = 0
    for trial in range(400):
        correct = draw(rng, 2 * rng.normal(size=300), 1, 0, 1.0)[0]
        interval = bootstrap_interval(correct, num_resamples=1000, seed=trial)
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / 400 <= 0.98
