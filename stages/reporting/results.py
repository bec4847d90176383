"""How right the runs are: accuracies with their intervals, several runs side by side, accuracy after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..evaluation.compare import ComparisonReport, MethodResult
from ..evaluation.differences import shown_checkpoints
from ..evaluation.results import EvaluatedSplit, EvaluationReport
from ..runs.checkpoint import CheckpointName
from .confusion import ClassRow, ConfusedPair, Matrix, class_tables, make_matrix, most_confused
from .figures import Line, line_chart, to_svg
from .groups import Group, members, run_label
from .samples import Sample, choose_samples


@dataclass(frozen=True)
class GroupResults:
    """A group's runs, and over its draws means and standard deviations (None for the only run of a report)."""

    group: Group
    runs: list[tuple[str, EvaluationReport]]
    summary: MethodResult | None


@dataclass(frozen=True)
class SplitResults:
    """Everything that is shown of one split. checkpoints: those that are shown, the one to go by first.

    evaluated: in words, whose weights gave what is known of one checkpoint alone: confusion, classes, samples, steps.
    """

    split: EvaluatedSplit
    checkpoints: tuple[CheckpointName, ...]
    evaluated: str
    num_recordings: int
    num_resamples: int
    groups: list[GroupResults]
    comparison: ComparisonReport | None
    anytime: Markup
    matrices: list[Matrix]
    pairs: list[list[ConfusedPair]]
    classes: list[list[ClassRow]]
    samples: list[tuple[str, list[Sample]]]


def describe_results(
    groups: Sequence[Group], split: EvaluatedSplit, comparison: ComparisonReport | None
) -> SplitResults:
    """The results on one split that all runs were evaluated on."""
    first = groups[0].runs[0].evaluated[split].report
    summaries = [None] if comparison is None else comparison.methods
    reports = [run.evaluated[split].report for group in groups for run in group.runs]
    checkpoints = shown_checkpoints(reports)
    evaluated = _name_weights(reports)
    return SplitResults(
        split=split,
        checkpoints=checkpoints,
        evaluated=evaluated,
        num_recordings=first.num_samples,
        num_resamples=first.num_resamples,
        groups=[
            GroupResults(group, [(run_label(group, run), run.evaluated[split].report) for run in group.runs], summary)
            for group, summary in zip(groups, summaries, strict=True)
        ],
        comparison=comparison,
        anytime=_draw_anytime(groups, split, evaluated),
        matrices=[make_matrix(group, split) for group in groups],
        pairs=[most_confused(group, split) for group in groups],
        classes=class_tables(groups, split),
        samples=choose_samples(groups, split),
    )


def _name_weights(reports: Sequence[EvaluationReport]) -> str:
    """The evaluated checkpoint, the same of all runs, and its epochs."""
    name = "last" if all(report.holds("last") for report in reports) else reports[0].checkpoint
    epochs = sorted({report.epoch for report in reports})
    return f"the {name} weights of epoch {epochs[0]}" + ("" if len(epochs) == 1 else f" to {epochs[-1]}")


def _draw_anytime(groups: Sequence[Group], split: EvaluatedSplit, evaluated: str) -> Markup:
    """Top-1 of the mean logits of the steps so far."""
    lines, labelled = [], set()
    for index, group, record in members(groups):
        values = record.evaluated[split].report.top1_after_step
        lines.append(Line(values, index, None if index in labelled or not group.letter else group.letter))
        labelled.add(index)
    steps = range(1, 1 + max(len(line.values) for line in lines))
    figure = line_chart(f"top-1 after each time step ({split})", "time steps seen", steps, lines, is_share=True)
    listed = "; ".join(
        f"{run_label(group, record)}: "
        + ", ".join(f"{value:.4g}" for value in record.evaluated[split].report.top1_after_step)
        for _, group, record in members(groups)
    )
    return to_svg(figure, f"anytime-{split}", f"Top-1 after each time step, of {evaluated}. {listed}")
