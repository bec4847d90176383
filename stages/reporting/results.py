"""How right the runs are: accuracies with their intervals, several runs side by side, accuracy after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..evaluation.compare import ComparisonReport, MethodResult
from ..evaluation.differences import shown_checkpoints
from ..evaluation.results import EvaluatedSplit, EvaluationReport
from ..training.checkpoint import CheckpointName
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
    """Everything that is shown of one split. checkpoints: those that are shown, the one to go by first."""

    split: EvaluatedSplit
    checkpoints: tuple[CheckpointName, ...]
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
    return SplitResults(
        split=split,
        checkpoints=checkpoints,
        num_recordings=first.num_samples,
        num_resamples=first.num_resamples,
        groups=[
            GroupResults(group, [(run_label(group, run), run.evaluated[split].report) for run in group.runs], summary)
            for group, summary in zip(groups, summaries, strict=True)
        ],
        comparison=comparison,
        anytime=_draw_anytime(groups, split),
        matrices=[make_matrix(group, split) for group in groups],
        pairs=[most_confused(group, split) for group in groups],
        classes=class_tables(groups, split),
        samples=choose_samples(groups, split),
    )


def _draw_anytime(groups: Sequence[Group], split: EvaluatedSplit) -> Markup:
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
    return to_svg(figure, f"anytime-{split}", f"Top-1 after each time step. {listed}")
