"""A method over its draws, and two against each other: for each checkpoint, and the verdict that all must agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..runs.checkpoint import CheckpointName
from .metrics import Accuracies
from .results import EvaluationReport, Predictions
from .statistics import (
    Interval,
    MeanAndStd,
    PairedDifference,
    mean_and_std,
    paired_difference,
    recordings_interval,
)

Metric = Literal["top1", "mean_class_accuracy"]
Verdict = Literal["ahead", "behind", "open"]
NO_LAST = "no verdict where what the last epoch's weights say of each recording is not known: evaluate such runs again"
Outcome = tuple[EvaluationReport, Predictions]  # of one draw


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
    found = {}
    for checkpoint in checkpoints:
        sides = [[report.at(checkpoint) for report, _ in side] for side in (own, others)]
        if None not in (*sides[0], *sides[1]):
            a, b = ([float(getattr(of, metric)) for of in side] for side in sides)
            found[checkpoint] = paired_difference(a, b, _over_recordings(own, others, checkpoint, metric))
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


def correct_at(outcome: Outcome, checkpoint: CheckpointName) -> NDArray[np.bool_] | None:
    """(n,) whether a checkpoint named each recording rightly; None where that is not known."""
    report, predictions = outcome
    return predictions.correct if report.holds(checkpoint) else predictions.correct_last


def _over_recordings(
    own: Sequence[Outcome], others: Sequence[Outcome], checkpoint: CheckpointName, metric: Metric
) -> Interval | None:
    found = [[correct_at(outcome, checkpoint) for outcome in side] for side in (own, others)]
    a, b = ([correct for correct in side if correct is not None] for side in found)
    if not a or len(a) < len(own) or len(b) < len(others):
        return None
    classes = np.concatenate([predictions.classes for _, predictions in own])
    ids = [predictions.sample_ids for _, predictions in own]
    return recordings_interval(a, b, classes if metric == "mean_class_accuracy" else None, ids=ids)
