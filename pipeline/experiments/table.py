"""The table of an experiment: what its finished cells say, and what a reader must know about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...cache.pairs import Reach, worst_reach
from ...stages.evaluation.statistics import (
    NUM_RESAMPLES,
    MeanAndStd,
    PairedDifference,
    mean_and_std,
    paired_difference,
)
from ..workspace import Workspace
from .cells import Experiment, Row
from .description import Metric
from .state import CellResult, find_run, read_result

CHECKPOINTS = ("best", "last")
Results = Mapping[int, CellResult]  # by seed


@dataclass(frozen=True)
class Comparison:
    """top-1 of `best`, less that of the row `baseline` (None: there is no such row, "": it is this row).

    difference: None without a finished cell in both, or where they were tested on other recordings.
    """

    baseline: str | None
    difference: PairedDifference | None


@dataclass(frozen=True)
class TableRow:
    """A row's finished cells. Accuracies in [0, 1]; published: top-1 by the number of its source, in [0, 1].

    photos_in_reach: of held-out recordings, of the cells together; None without a finished cell.
    accuracies: by column; empty without a finished cell. comparisons: one for each of the table's baselines.
    """

    labels: Mapping[str, str]
    num_done: int
    num_seeds: int
    accuracies: Mapping[str, MeanAndStd]
    comparisons: tuple[Comparison, ...]
    published: Mapping[int, float]
    photos_in_reach: Reach | None
    selection: str


@dataclass(frozen=True)
class Table:
    """Rows, and notes of a line each. columns: like "top1_best". sources: of published figures, numbered from 1."""

    title: str
    data: str
    axes: tuple[str, ...]
    columns: tuple[str, ...]
    baselines: tuple[str, ...]
    rows: tuple[TableRow, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]


_SELECTION = {
    "validation": "the epoch with the highest validation accuracy; the test recordings had no part in it",
    "test_as_released": "the epoch with the highest test accuracy, as the released code chooses it, which flatters it",
    "last": "the last epoch",
}


def make_table(experiment: Experiment, workspace: Workspace, metrics: list[Metric] | None = None) -> Table:
    """The table of the cells that are done; `metrics` instead of those that the file names."""
    shown = metrics or experiment.file.table.metrics
    columns = tuple(f"{metric}_{checkpoint}" for metric in shown for checkpoint in CHECKPOINTS)
    results = {row.name: _results(row, workspace) for row in experiment.rows}
    rows = tuple(_row(experiment, row, results, columns) for row in experiment.rows)
    return Table(
        title=experiment.file.title,
        data=experiment.file.data,
        axes=tuple(experiment.file.axis),
        columns=columns,
        baselines=tuple(", ".join(baseline.values()) for baseline in experiment.file.table.baselines),
        rows=rows,
        sources=tuple(published.source for published in experiment.file.table.published),
        notes=tuple(_notes(experiment, rows, results)),
    )


def _results(row: Row, workspace: Workspace) -> Results:
    found = {}
    for cell in row.cells:
        folder = find_run(cell.config, workspace)
        result = None if folder is None else read_result(cell.config, folder)
        if result is not None:
            found[cell.seed] = result
    return found


def _row(experiment: Experiment, row: Row, results: Mapping[str, Results], columns: tuple[str, ...]) -> TableRow:
    own = results[row.name]
    published = {
        number: figure.top1 / 100
        for number, source in enumerate(experiment.file.table.published, 1)
        for figure in source.figures
        if row.matches(figure.of)
    }
    return TableRow(
        labels=row.labels,
        num_done=len(own),
        num_seeds=len(row.cells),
        accuracies={column: _accuracy(own, column) for column in columns} if own else {},
        comparisons=tuple(
            _compare(row, experiment.baseline_of(row, baseline), results)
            for baseline in experiment.file.table.baselines
        ),
        published=published,
        photos_in_reach=worst_reach(result.report.photos_in_reach for result in own.values()) if own else None,
        selection=row.cells[0].config.train.select,
    )


def _accuracy(results: Results, column: str) -> MeanAndStd:
    metric, _, checkpoint = column.rpartition("_")
    reports = [result.report for result in results.values()]
    chosen = [report if checkpoint == "best" else report.last for report in reports]
    return mean_and_std([getattr(accuracies, metric) for accuracies in chosen])


def _compare(row: Row, baseline: Row | None, results: Mapping[str, Results]) -> Comparison:
    if baseline is None or baseline is row:
        return Comparison(None if baseline is None else "", None)
    return Comparison(baseline.name, _difference(results[row.name], results[baseline.name]))


def _difference(own: Results, other: Results) -> PairedDifference | None:
    """Over the seeds that both rows have; None where there are none, or the recordings differ."""
    seeds = [seed for seed in own if seed in other]
    pairs = [(own[seed], other[seed]) for seed in seeds]
    same = all(a.report.recordings_digest == b.report.recordings_digest for a, b in pairs)
    if not same or len({a.report.num_samples for a, _ in pairs}) != 1:
        return None
    first, second = (np.stack([result.predictions.correct for result in side]) for side in zip(*pairs, strict=True))
    return paired_difference(first, second)


def _notes(experiment: Experiment, rows: tuple[TableRow, ...], results: Mapping[str, Results]) -> list[str]:
    file = experiment.file
    sizes = sorted({result.report.num_samples for found in results.values() for result in found.values()})
    splits = sorted({result.report.split for found in results.values() for result in found.values()})
    seeds = ", ".join(map(str, file.seeds))
    notes = []
    if file.data != "real":
        what = {"demo": "the drawn demo data", "simulated": "simulated recordings"}[file.data]
        notes.append(f"Not run on the real data set: {what}. Published figures are for the real one.")
    missing = sum(row.num_seeds - row.num_done for row in rows)
    if missing:
        notes.append(
            f"{missing} of {sum(row.num_seeds for row in rows)} runs are missing: n counts those that are there."
        )
    if sizes:
        recordings = " or ".join(f"{size:,}" for size in sizes)
        notes.append(f"Per cent, on {recordings} recordings of the {' and the '.join(splits)} split.")
    split = "each with its own split" if file.vary_split else "all with one split"
    notes.append(f"Mean ± sample standard deviation over n seeds ({seeds}; {split}).")
    selections = sorted({row.selection for row in rows})
    for selection in selections:
        names = "; ".join(", ".join(row.labels.values()) for row in rows if row.selection == selection)
        notes.append(f"Best: {_SELECTION[selection]}" + (f" ({names})." if len(selections) > 1 else "."))
    if any(row.photos_in_reach == "none" for row in rows):
        notes.append("Where a row says nothing else, no photo of a held-out recording was in reach of training.")
    if any(row.photos_in_reach == "some" for row in rows):
        notes.append(
            "(leaky): photos that held-out recordings were made from were in training; the figures are too good."
        )
    if any(row.photos_in_reach == "unknown" for row in rows):
        notes.append(
            "(leakage unknown): whether photos that held-out recordings were made from were in training is not known."
        )
    if any(comparison.difference for row in rows for comparison in row.comparisons):
        notes.append(
            "Differences: in top-1 of best, in points, with a 95 % interval over seeds and test recordings (paired "
            f"pigeonhole bootstrap, Owen 2007, {NUM_RESAMPLES:,} draws)."
        )
    notes += [f"[{number}] {source.source}" for number, source in enumerate(file.table.published, 1)]
    return notes
