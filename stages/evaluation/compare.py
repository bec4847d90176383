"""Evaluated runs side by side: each method over its seeds, and each against a baseline on the same recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import TrainingError
from ...cache.pairs import Reach, worst_reach
from .metrics import Accuracies
from .results import EvaluationReport, Predictions
from .statistics import McNemar, MeanAndStd, PairedDifference, mcnemar, mean_and_std, paired_difference


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with what its evaluation left. seed: None for imported weights."""

    folder: Path
    seed: int | None
    report: EvaluationReport
    predictions: Predictions


Methods = Mapping[str, Sequence[EvaluatedRun]]


@dataclass(frozen=True)
class MethodResult:
    """One method over its seeds: means and sample standard deviations of accuracies in [0, 1]."""

    method: str
    runs: tuple[Path, ...]
    seeds: tuple[int | None, ...]
    protocol: str
    photos_in_reach: Reach
    top1: MeanAndStd
    top5: MeanAndStd
    mean_class_accuracy: MeanAndStd


@dataclass(frozen=True)
class MethodDifference:
    """A method minus the baseline. mcnemar: top-1 of the two runs of each seed; `only_a` is the method's."""

    method: str
    baseline: str
    top1: PairedDifference
    mean_class_accuracy: PairedDifference
    mcnemar: tuple[McNemar, ...]


@dataclass(frozen=True)
class ComparisonReport:
    """Methods on the same recordings. notes: what a reader must know to judge the comparison."""

    split: str
    checkpoint: str
    num_samples: int
    num_classes: int
    methods: tuple[MethodResult, ...]
    differences: tuple[MethodDifference, ...]
    notes: tuple[str, ...]


def run(methods: Methods, baseline: str, *, across_protocols: bool = False) -> ComparisonReport:
    """Compare methods, each the runs of different seeds in the same order, with the one called `baseline`.

    Raises TrainingError, naming both, for runs of other classes, other recordings, another precision or another
    protocol; protocols may differ with `across_protocols`, as in a study of leakage.
    """
    runs = [member for members in methods.values() for member in members]
    for other in runs[1:]:
        _check_same_recordings(runs[0], other)
        _check_same_precision(runs[0], other)
        if not across_protocols:
            _check_same_protocol(runs[0], other)
    first = runs[0].report
    return ComparisonReport(
        split=first.split,
        checkpoint=first.checkpoint,
        num_samples=first.num_samples,
        num_classes=first.num_classes,
        methods=tuple(_result(name, members) for name, members in methods.items()),
        differences=tuple(
            _difference(name, members, baseline, methods[baseline])
            for name, members in methods.items()
            if name != baseline
        ),
        notes=(*_notes(runs), *_notes_on_seeds(methods)),
    )


def _result(name: str, members: Sequence[EvaluatedRun]) -> MethodResult:
    accuracies = {
        field: mean_and_std([getattr(member.report, field) for member in members]) for field in Accuracies.model_fields
    }
    return MethodResult(
        method=name,
        runs=tuple(member.folder for member in members),
        seeds=tuple(member.seed for member in members),
        protocol=members[0].report.protocol,
        photos_in_reach=worst_reach(member.report.photos_in_reach for member in members),
        **accuracies,
    )


def _difference(
    name: str, members: Sequence[EvaluatedRun], baseline: str, others: Sequence[EvaluatedRun]
) -> MethodDifference:
    a, b = _correct(members), _correct(others)
    classes = np.array(members[0].predictions.classes)
    return MethodDifference(
        method=name,
        baseline=baseline,
        top1=paired_difference(a, b),
        mean_class_accuracy=paired_difference(a, b, classes),
        mcnemar=tuple(mcnemar(*pair) for pair in zip(a, b, strict=True)),
    )


def _correct(members: Sequence[EvaluatedRun]) -> NDArray[np.bool_]:
    """(S, n)"""
    return np.stack([member.predictions.correct for member in members])


def _check_same_recordings(a: EvaluatedRun, b: EvaluatedRun) -> None:
    names = [[entry.name for entry in member.report.classes] for member in (a, b)]
    both = f"{a.folder} and {b.folder} cannot be compared"
    if names[0] != names[1]:
        alone = [", ".join(sorted(set(names[i]) - set(names[1 - i]))[:8]) or "none" for i in (0, 1)]
        raise TrainingError(
            f"{both}: other classes. The first has {len(names[0])} (not in the other: {alone[0]}), the second "
            f"{len(names[1])} (not in the other: {alone[1]}); compare runs of one data set"
        )
    ids = [set(member.predictions.sample_ids) for member in (a, b)]
    if a.predictions.sample_ids != b.predictions.sample_ids:
        raise TrainingError(
            f"{both}: other {a.report.split} recordings, {len(ids[0])} and {len(ids[1])}, of which "
            f"{len(ids[0] & ids[1])} are the same (splits {a.report.split_digest[:12]} and "
            f"{b.report.split_digest[:12]}); compare runs of one split: the same data and pairing.seed"
        )
    if a.report.recordings_digest != b.report.recordings_digest:
        raise TrainingError(
            f"{both}: other data. Their {a.report.split} recordings have the same names and other contents "
            f"({a.report.recordings_digest[:12]} and {b.report.recordings_digest[:12]}); compare runs on the same "
            "raw recordings"
        )


def _check_same_precision(a: EvaluatedRun, b: EvaluatedRun) -> None:
    if a.report.precision != b.report.precision:
        raise TrainingError(
            f"{a.folder} was evaluated in {a.report.precision}, {b.folder} in {b.report.precision}; evaluate all in "
            f"one precision, for example with --set evaluate.precision={a.report.precision}"
        )


def _check_same_protocol(a: EvaluatedRun, b: EvaluatedRun) -> None:
    if a.report.protocol != b.report.protocol:
        raise TrainingError(
            f"{a.folder} was trained under the protocol {a.report.protocol}, {b.folder} under {b.report.protocol}; "
            "if leakage is what you study, compare with --across-protocols (across_protocols=True)"
        )


def _notes(runs: Sequence[EvaluatedRun]) -> list[str]:
    notes = []
    reports = [member.report for member in runs]
    protocols = sorted({report.protocol for report in reports})
    if len(protocols) > 1:
        notes.append(f"runs of different protocols: {', '.join(protocols)}; a difference may be leakage")
    if any(report.photos_in_reach == "some" for report in reports):
        notes.append("leaky: photos of held-out recordings taught some of the networks, which flatters them")
    if any(report.photos_in_reach == "unknown" for report in reports):
        notes.append("it is not known of all whether held-out recordings, or their photos, taught the network")
    if len({report.split_digest for report in reports}) > 1:
        notes.append("the evaluated recordings are the same; what was trained on differs (other split digests)")
    if any(report.selection == "test_as_released" for report in reports):
        notes.append("epochs chosen on the test recordings, as in the released code, flatter the result")
    if reports[0].split == "validation":
        notes.append("validation recordings choose the epoch: for a result evaluate the test recordings")
    return notes


def _notes_on_seeds(methods: Methods) -> list[str]:
    seeds = [[member.seed for member in members] for members in methods.values()]
    if all(of_method == seeds[0] for of_method in seeds):
        return []
    named = ", ".join(str(seed) for of_method in seeds for seed in of_method)
    return [f"one run of each method, with other seeds ({named}): a difference may be that of the seeds"]
