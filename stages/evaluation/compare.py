"""Evaluated runs side by side: each method over its draws, and each against a baseline on the same recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...cache.documents import name_some
from ...cache.errors import TrainingError
from ...cache.pairs import Reach, worst_reach
from ..runs.checkpoint import CheckpointName
from .config import WAYS
from .results import MIN_SELECTING, Accuracies, EvaluationReport, Outcome
from .statistics import (
    MIN_DRAWS,
    McNemar,
    MeanAndStd,
    PairedDifference,
    mcnemar,
    mean_and_std,
    paired_difference,
    recordings_interval,
)

Metric = Literal["top1", "mean_class_accuracy"]
Verdict = Literal["ahead", "behind", "open"]
NO_LAST = "no verdict where what the last epoch's weights say of each recording is not known: evaluate such runs again"


@dataclass(frozen=True)
class EvaluatedRun(Outcome):
    """A run with what its evaluation left. seed: None for imported weights.

    subset_seed: what drew its labelled recordings, where that is not the split's seed.
    """

    folder: Path
    seed: int | None
    subset_seed: int | None = None

    @property
    def draw(self) -> tuple[int | None, int | None]:
        return self.seed, self.subset_seed


Methods = Mapping[str, Sequence[EvaluatedRun]]
Pair = tuple[EvaluatedRun, EvaluatedRun]


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
    `MIN_DRAWS`, where what was said of each recording is not known, or where recordings are of groups: the test takes
    them for independent."""

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
    """Compare methods, each the runs of different draws, with the one called `baseline`: draw by draw, those that both
    have (see `in_pairs`); means are of all draws of a method.

    Raises TrainingError, naming both, for runs of other classes, other recordings, evaluated in other ways (precision,
    heads, shifts), or another protocol; protocols may differ with `across_protocols`, as in a study of leakage.
    """
    runs = [member for members in methods.values() for member in members]
    for other in runs[1:]:
        _check_comparable(runs[0], other, across_protocols)
    first = runs[0].report
    checkpoints = shown_checkpoints(member.report for member in runs)
    pairs = {name: in_pairs(members, methods[baseline]) for name, members in methods.items() if name != baseline}
    differences = tuple(_difference(name, baseline, paired, checkpoints) for name, paired in pairs.items() if paired)
    return ComparisonReport(
        split=first.split,
        checkpoints=checkpoints,
        num_samples=first.num_samples,
        num_classes=first.num_classes,
        methods=tuple(_result(name, members, checkpoints) for name, members in methods.items()),
        differences=differences,
        notes=tuple(note for note, applies in _notes(methods, pairs, checkpoints, differences).items() if applies),
    )


def in_pairs(own: Sequence[EvaluatedRun], others: Sequence[EvaluatedRun]) -> list[Pair]:
    """Runs of two methods with the same draw (seed, and what drew the labels); of a lone run of each, these two."""
    if len(own) == len(others) == 1:
        return [(own[0], others[0])]
    by_draw = {run.draw: run for run in others}
    return [(run, by_draw[run.draw]) for run in own if run.draw in by_draw]


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
    name: str, baseline: str, paired: Sequence[Pair], checkpoints: Sequence[CheckpointName]
) -> MethodDifference:
    members, others = ([pair[side] for pair in paired] for side in (0, 1))
    top1 = find_differences(members, others, checkpoints)
    by_class = find_differences(members, others, checkpoints, "mean_class_accuracy")
    found = {}
    for checkpoint in top1:
        rightly = [(a.correct_at(checkpoint), b.correct_at(checkpoint)) for a, b in paired]
        tests = tuple(mcnemar(a, b) for a, b in rightly if a is not None and b is not None)
        stand_alone = not any(run.predictions.groups for pair in paired for run in pair)
        known = tests if len(tests) == len(paired) >= MIN_DRAWS and stand_alone else ()
        found[checkpoint] = CheckpointDifference(top1[checkpoint], by_class[checkpoint], known)
    return MethodDifference(name, baseline, find_verdict(top1), found)


def shown_checkpoints(reports: Iterable[EvaluationReport]) -> tuple[CheckpointName, ...]:
    """The checkpoints that some of these have, the one to go by first; one where both are the same weights.

    It is `last` as soon as the `best` epoch of one of them was chosen by too few validation recordings, or by others.
    """
    listed = list(reports)
    if all(report.selection == "last" or report.checkpoint == "last" for report in listed):
        return ("last",)
    if all(report.last is None for report in listed):
        return ("best",)
    chosen = [report for report in listed if report.selection != "last"]
    return ("last", "best") if any(report.leads_with_last for report in chosen) else ("best", "last")


def common(reports: Sequence[EvaluationReport], field: str) -> int | None:
    """What all reports say; None where they differ."""
    found = {getattr(report, field) for report in reports}
    return found.pop() if len(found) == 1 else None


def over_draws(reports: Sequence[EvaluationReport], checkpoint: CheckpointName) -> dict[str, MeanAndStd]:
    """By the names of `Accuracies`; empty without draws, or where one of them has no such checkpoint."""
    found = [report.at(checkpoint) for report in reports]
    if not found or None in found:
        return {}
    return {field: mean_and_std([getattr(of, field) for of in found]) for field in Accuracies.model_fields}


def find_differences(
    own: Sequence[Outcome], others: Sequence[Outcome], checkpoints: Iterable[CheckpointName], metric: Metric = "top1"
) -> dict[CheckpointName, PairedDifference]:
    """`own` minus `others`, the draw at each place the same, by those of the checkpoints that all of them have.

    Both outcomes of a draw are of the same recordings; the draws may be of different ones.
    """
    found, sides = {}, (own, others)
    classes = np.concatenate([of.predictions.classes for of in own]) if metric == "mean_class_accuracy" else None
    ids = [(a if a.predictions.groups else b).predictions.units for a, b in zip(own, others, strict=True)]
    for checkpoint in checkpoints:
        accuracies = [[of.report.at(checkpoint) for of in side] for side in sides]
        if any(None in side for side in accuracies):
            continue
        a, b = ([float(getattr(of, metric)) for of in side] for side in accuracies)
        rightly: list[list[Any]] = [[of.correct_at(checkpoint) for of in side] for side in sides]
        is_known = all(named is not None for side in rightly for named in side)
        recordings = recordings_interval(rightly[0], rightly[1], classes, ids=ids) if is_known else None
        found[checkpoint] = paired_difference(a, b, recordings)
    return found


def find_verdict(top1: Mapping[CheckpointName, PairedDifference]) -> Verdict | None:
    """Whether a method is ahead: of the last epoch's weights, and of `best` where there is one, over draws and over
    recordings, every interval lies on the same side of zero. None: too few draws, or `last` is not known.
    """
    intervals = [interval for found in top1.values() for interval in (found.draws, found.recordings)]
    if "last" not in top1 or any(interval is None for interval in intervals):
        return None
    known = [interval for interval in intervals if interval is not None]
    if all(interval.low > 0 for interval in known):
        return "ahead"
    return "behind" if all(interval.high < 0 for interval in known) else "open"


def lacks_last(top1: Mapping[CheckpointName, PairedDifference]) -> bool:
    """Whether there are draws enough for a verdict, and there is none since `last` is not known."""
    return find_verdict(top1) is None and any(found.draws is not None for found in top1.values())


def _check_comparable(first: EvaluatedRun, second: EvaluatedRun, across_protocols: bool) -> None:
    a, b, both = first.report, second.report, f"{first.folder} and {second.folder} cannot be compared"
    names = [[entry.name for entry in report.classes] for report in (a, b)]
    alone = [name_some(sorted(set(names[i]) - set(names[1 - i])), 8) or "none" for i in (0, 1)]
    ids = [set(member.predictions.sample_ids) for member in (first, second)]
    problems = {
        f"{both}: other classes. The first has {len(names[0])} (not in the other: {alone[0]}), the second "
        f"{len(names[1])} (not in the other: {alone[1]}); compare runs of one data set": names[0] != names[1],
        f"{both}: other {a.split} recordings, {len(ids[0])} and {len(ids[1])}, of which {len(ids[0] & ids[1])} are "
        f"the same (splits {a.split_digest[:12]} and {b.split_digest[:12]}); compare runs of one split: the same data "
        "and pairing.seed": first.predictions.sample_ids != second.predictions.sample_ids,
        f"{both}: other data. Their {a.split} recordings have the same names and other contents "
        f"({a.recordings_digest[:12]} and {b.recordings_digest[:12]}); compare runs on the same raw "
        "recordings": a.recordings_digest != b.recordings_digest,
        **{
            f"{first.folder} was evaluated with {way} = {one}, {second.folder} with {other}; "
            f"evaluate all in one way, for example with --set evaluate.{way}={str(one).lower()}": one != other
            for way, one, other in ((way, getattr(a, way), getattr(b, way)) for way in WAYS)
        },
        f"{first.folder} was trained under the protocol {a.protocol}, {second.folder} under {b.protocol}; if leakage "
        "is what you study, compare with --across-protocols (across_protocols=True)": a.protocol != b.protocol
        and not across_protocols,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise TrainingError(problem)


def _seeds(run: EvaluatedRun) -> str:
    return ("one not known" if run.seed is None else str(run.seed)) + (
        "" if run.subset_seed is None else f" with subset_seed {run.subset_seed}"
    )


def _notes(
    methods: Methods,
    pairs: Mapping[str, Sequence[Pair]],
    checkpoints: Sequence[CheckpointName],
    differences: Sequence[MethodDifference],
) -> dict[str, bool]:
    """What there is to say, and whether it applies."""
    reports = [member.report for members in methods.values() for member in members]
    protocols = sorted({report.protocol for report in reports})
    reaches = {report.photos_in_reach for report in reports}
    have_as_many = len({len(paired) for paired in pairs.values()}) < 2
    most = max(map(len, methods.values()))
    is_partly_paired = any(len(paired) < max(len(methods[name]), most) for name, paired in pairs.items())
    strangers = {name: [pair for pair in paired if pair[0].draw != pair[1].draw] for name, paired in pairs.items()}
    beside = {
        name: " or ".join(sorted({member.report.unlabelled for member in members} - {""}))
        for name, members in methods.items()
    }
    return {
        **{
            f"{name}: beside the labels seen, recordings of the training split taught without theirs: {of}": bool(of)
            for name, of in beside.items()
        },
        f"runs of different protocols: {', '.join(protocols)}; a difference may be leakage": len(protocols) > 1,
        "recordings are in groups, such as pieces of one, which intervals over recordings resample whole; no McNemar "
        "test": any(report.num_groups for report in reports),
        "leaky: photos of held-out recordings taught some of the networks, which flatters them": "some" in reaches,
        "it is not known of all whether held-out recordings, or their photos, taught the network": "unknown" in reaches,
        "the evaluated recordings are the same; what was trained on differs (other split digests)": any(
            len({member.report.split_digest for member in pair}) > 1 for paired in pairs.values() for pair in paired
        ),
        "epochs chosen on the test recordings, as in the released code, flatter the result": any(
            report.selection == "test_as_released" for report in reports
        ),
        f"all were evaluated with: {reports[0].way}": bool(reports[0].unusual_way),
        "validation recordings choose the epoch: for a result evaluate the test recordings": reports[0].split
        == "validation",
        f"last comes first: fewer than {MIN_SELECTING} validation recordings of a class, or other recordings than "
        "validation's, chose an epoch of best, or their number is not known": tuple(checkpoints) == ("last", "best"),
        **{
            f"{'' if have_as_many else f'{name}: '}no interval and no verdict: they need {MIN_DRAWS} draws of each "
            f"method (other seeds), here {'is' if len(paired) == 1 else 'are'} {len(paired)}": len(paired) < MIN_DRAWS
            for name, paired in pairs.items()
        },
        **{
            f"{name}: {len(paired)} of its {len(methods[name])} draws are the baseline's too, and were compared; means "
            "are of all draws": is_partly_paired and not strangers[name]
            for name, paired in pairs.items()
        },
        **{
            f"{name}: its only run and the baseline's have other seeds ({_seeds(a)} and {_seeds(b)}): a difference may "
            "be that of the seeds": True
            for name, paired in strangers.items()
            for a, b in paired
        },
        **{
            f"{member.folder}: training was stopped after {member.report.unfinished}": bool(member.report.unfinished)
            for members in methods.values()
            for member in members
        },
        NO_LAST: any(lacks_last({name: of.top1 for name, of in found.checkpoints.items()}) for found in differences),
    }
