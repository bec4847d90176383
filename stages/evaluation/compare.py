"""Evaluated runs side by side: each method over its draws, and each against a baseline on the same recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.errors import TrainingError
from ...cache.pairs import Reach, worst_reach
from ..runs.checkpoint import CheckpointName
from .differences import (
    NO_LAST,
    Outcome,
    Verdict,
    common,
    correct_at,
    find_differences,
    find_verdict,
    lacks_last,
    over_draws,
    shown_checkpoints,
)
from .results import MIN_SELECTING, EvaluationReport, Predictions
from .statistics import MIN_DRAWS, McNemar, MeanAndStd, PairedDifference, mcnemar


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with what its evaluation left. seed: None for imported weights.

    subset_seed: what drew its labelled recordings, where that is not the split's seed.
    """

    folder: Path
    seed: int | None
    report: EvaluationReport
    predictions: Predictions
    subset_seed: int | None = None

    @property
    def outcome(self) -> Outcome:
        return self.report, self.predictions


Methods = Mapping[str, Sequence[EvaluatedRun]]


@dataclass(frozen=True)
class MethodResult:
    """One method over its draws, which `seeds` tells apart, and `subset_seeds` where they draw the labelled recordings.

    train_labels: labelled recordings that trained; selection_labels: that chose the epoch of `best`, beside them. None:
    not known, or not the same of all draws. accuracies: by checkpoint, in the order in which to show them, and by the
    names of `Accuracies`.
    """

    method: str
    runs: tuple[Path, ...]
    seeds: tuple[int | None, ...]
    subset_seeds: tuple[int | None, ...]
    protocol: str
    photos_in_reach: Reach
    train_labels: int | None
    selection_labels: int | None
    accuracies: Mapping[CheckpointName, Mapping[str, MeanAndStd]]


@dataclass(frozen=True)
class CheckpointDifference:
    """Of one checkpoint. mcnemar: top-1 of the two runs of each draw, `only_a` is the method's; none for fewer than
    `MIN_DRAWS`, or where what was said of each recording is not known."""

    top1: PairedDifference
    mean_class_accuracy: PairedDifference
    mcnemar: tuple[McNemar, ...]


@dataclass(frozen=True)
class MethodDifference:
    """A method minus the baseline, by checkpoint in the order in which to show them. verdict: of top-1."""

    method: str
    baseline: str
    verdict: Verdict | None
    checkpoints: Mapping[CheckpointName, CheckpointDifference]


@dataclass(frozen=True)
class ComparisonReport:
    """Methods on the same recordings. checkpoints: those that are compared, the one to go by first.

    notes: what a reader must know to judge the comparison.
    """

    split: str
    checkpoints: tuple[CheckpointName, ...]
    num_samples: int
    num_classes: int
    methods: tuple[MethodResult, ...]
    differences: tuple[MethodDifference, ...]
    notes: tuple[str, ...]


def run(methods: Methods, baseline: str, *, across_protocols: bool = False) -> ComparisonReport:
    """Compare methods, each the runs of different draws in the same order, with the one called `baseline`.

    Raises TrainingError, naming both, for runs of other classes, other recordings, another precision or another
    protocol; protocols may differ with `across_protocols`, as in a study of leakage.
    """
    runs = [member for members in methods.values() for member in members]
    for other in runs[1:]:
        _check_comparable(runs[0], other, across_protocols)
    first = runs[0].report
    checkpoints = shown_checkpoints(member.report for member in runs)
    differences = tuple(
        _difference(name, members, baseline, methods[baseline], checkpoints)
        for name, members in methods.items()
        if name != baseline
    )
    return ComparisonReport(
        split=first.split,
        checkpoints=checkpoints,
        num_samples=first.num_samples,
        num_classes=first.num_classes,
        methods=tuple(_result(name, members, checkpoints) for name, members in methods.items()),
        differences=differences,
        notes=tuple(note for note, applies in _notes(methods, checkpoints, differences).items() if applies),
    )


def _result(name: str, members: Sequence[EvaluatedRun], checkpoints: Sequence[CheckpointName]) -> MethodResult:
    reports = [member.report for member in members]
    found = {checkpoint: over_draws(reports, checkpoint) for checkpoint in checkpoints}
    return MethodResult(
        method=name,
        runs=tuple(member.folder for member in members),
        seeds=tuple(member.seed for member in members),
        subset_seeds=tuple(member.subset_seed for member in members),
        protocol=reports[0].protocol,
        photos_in_reach=worst_reach(report.photos_in_reach for report in reports),
        train_labels=common(reports, "train_labels"),
        selection_labels=common(reports, "selection_labels"),
        accuracies={checkpoint: accuracies for checkpoint, accuracies in found.items() if accuracies},
    )


def _difference(
    name: str,
    members: Sequence[EvaluatedRun],
    baseline: str,
    others: Sequence[EvaluatedRun],
    checkpoints: Sequence[CheckpointName],
) -> MethodDifference:
    own, against = ([member.outcome for member in side] for side in (members, others))
    top1 = find_differences(own, against, checkpoints)
    by_class = find_differences(own, against, checkpoints, "mean_class_accuracy")
    found = {
        checkpoint: CheckpointDifference(top1[checkpoint], by_class[checkpoint], _mcnemar(own, against, checkpoint))
        for checkpoint in top1
    }
    return MethodDifference(name, baseline, find_verdict(top1), found)


def _mcnemar(own: Sequence[Outcome], others: Sequence[Outcome], checkpoint: CheckpointName) -> tuple[McNemar, ...]:
    pairs = [(correct_at(a, checkpoint), correct_at(b, checkpoint)) for a, b in zip(own, others, strict=True)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return tuple(mcnemar(a, b) for a, b in known) if len(known) == len(pairs) >= MIN_DRAWS else ()


def _check_comparable(a: EvaluatedRun, b: EvaluatedRun, across_protocols: bool) -> None:
    both, split = f"{a.folder} and {b.folder} cannot be compared", a.report.split
    names = [[entry.name for entry in member.report.classes] for member in (a, b)]
    if names[0] != names[1]:
        alone = [", ".join(sorted(set(names[i]) - set(names[1 - i]))[:8]) or "none" for i in (0, 1)]
        raise TrainingError(
            f"{both}: other classes. The first has {len(names[0])} (not in the other: {alone[0]}), the second "
            f"{len(names[1])} (not in the other: {alone[1]}); compare runs of one data set"
        )
    if a.predictions.sample_ids != b.predictions.sample_ids:
        ids = [set(member.predictions.sample_ids) for member in (a, b)]
        raise TrainingError(
            f"{both}: other {split} recordings, {len(ids[0])} and {len(ids[1])}, of which {len(ids[0] & ids[1])} are "
            f"the same (splits {a.report.split_digest[:12]} and {b.report.split_digest[:12]}); compare runs of one "
            "split: the same data and pairing.seed"
        )
    if a.report.recordings_digest != b.report.recordings_digest:
        raise TrainingError(
            f"{both}: other data. Their {split} recordings have the same names and other contents "
            f"({a.report.recordings_digest[:12]} and {b.report.recordings_digest[:12]}); compare runs on the same "
            "raw recordings"
        )
    if a.report.precision != b.report.precision:
        raise TrainingError(
            f"{a.folder} was evaluated in {a.report.precision}, {b.folder} in {b.report.precision}; evaluate all in "
            f"one precision, for example with --set evaluate.precision={a.report.precision}"
        )
    if a.report.protocol != b.report.protocol and not across_protocols:
        raise TrainingError(
            f"{a.folder} was trained under the protocol {a.report.protocol}, {b.folder} under {b.report.protocol}; "
            "if leakage is what you study, compare with --across-protocols (across_protocols=True)"
        )


def _notes(
    methods: Methods, checkpoints: Sequence[CheckpointName], differences: Sequence[MethodDifference]
) -> dict[str, bool]:
    """What there is to say, and whether it applies."""
    reports = [member.report for members in methods.values() for member in members]
    protocols = sorted({report.protocol for report in reports})
    reaches = {report.photos_in_reach for report in reports}
    pairs = list(zip(*methods.values(), strict=True))
    draws = [[(member.seed, member.subset_seed) for member in members] for members in methods.values()]
    few = len(draws[0])
    names = [str(seed) + ("" if own is None else f" with subset_seed {own}") for of in draws for seed, own in of]
    return {
        f"runs of different protocols: {', '.join(protocols)}; a difference may be leakage": len(protocols) > 1,
        "leaky: photos of held-out recordings taught some of the networks, which flatters them": "some" in reaches,
        "it is not known of all whether held-out recordings, or their photos, taught the network": "unknown" in reaches,
        "the evaluated recordings are the same; what was trained on differs (other split digests)": any(
            len({member.report.split_digest for member in pair}) > 1 for pair in pairs
        ),
        "epochs chosen on the test recordings, as in the released code, flatter the result": any(
            report.selection == "test_as_released" for report in reports
        ),
        "validation recordings choose the epoch: for a result evaluate the test recordings": reports[0].split
        == "validation",
        f"last comes first: fewer than {MIN_SELECTING} validation recordings of a class, or other recordings than "
        "validation's, chose an epoch of best, or their number is not known": tuple(checkpoints) == ("last", "best"),
        f"no interval and no verdict: they need {MIN_DRAWS} draws of each method (other seeds), here "
        f"{'is' if few == 1 else 'are'} {few}": len(draws) > 1 and few < MIN_DRAWS,
        f"one run of each method, with other seeds ({', '.join(names)}): a difference may be that of the seeds": any(
            of_method != draws[0] for of_method in draws
        ),
        NO_LAST: any(lacks_last({name: of.top1 for name, of in found.checkpoints.items()}) for found in differences),
    }
