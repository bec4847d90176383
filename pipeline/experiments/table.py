"""The table of an experiment: what its finished cells say, and what a reader must know about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...cache.pairs import Reach, worst_reach
from ...stages.evaluation.differences import (
    NO_LAST,
    Verdict,
    find_difference,
    find_verdict,
    lacks_last,
    shown_checkpoints,
)
from ...stages.evaluation.results import MIN_SELECTING, EvaluationReport
from ...stages.evaluation.statistics import (
    MIN_DRAWS,
    NUM_RESAMPLES,
    MeanAndStd,
    PairedDifference,
    mean_and_std,
)
from ...stages.runs.checkpoint import CheckpointName
from ..workspace import Workspace
from .cells import Experiment, Row
from .description import Metric
from .state import CellResult, find_run, read_result

CHECKPOINTS: tuple[CheckpointName, ...] = ("last", "best")
DASH = "\N{EN DASH}"  # where there is no interval
Results = Mapping[int, CellResult]  # by seed


@dataclass(frozen=True)
class Comparison:
    """top-1, less that of the row `baseline` (None: there is no such row, "": it is this row), by checkpoint.

    shared: draws that both finished. differences: empty without one, or where they were tested on other recordings.
    """

    baseline: str | None
    shared: int
    differences: Mapping[CheckpointName, PairedDifference]
    verdict: Verdict | None


@dataclass(frozen=True)
class Labels:
    """Labelled recordings that a row's networks saw, in all classes: that trained, and that chose the epoch of `best`
    beside them. None: not known, or not the same of all draws."""

    train: int | None
    selection: int | None


@dataclass(frozen=True)
class TableRow:
    """A row's finished cells. Accuracies in [0, 1]; published: top-1 by the number of its source, in [0, 1].

    photos_in_reach: of held-out recordings, of the cells together; None without a finished cell.
    accuracies: by column; empty without a finished cell. comparisons: one for each of the table's baselines.
    """

    labels: Mapping[str, str]
    num_done: int
    num_seeds: int
    seen: Labels
    accuracies: Mapping[str, MeanAndStd]
    comparisons: tuple[Comparison, ...]
    published: Mapping[int, float]
    photos_in_reach: Reach | None
    selection: str


@dataclass(frozen=True)
class Table:
    """Rows, and notes of a line each. columns: like "top1_best". sources: of published figures, numbered from 1.

    checkpoints: those that are shown, the one to go by first.
    """

    title: str
    data: str
    axes: tuple[str, ...]
    checkpoints: tuple[CheckpointName, ...]
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
    results = {row.name: _results(row, workspace) for row in experiment.rows}
    checkpoints = _checkpoints(experiment, results)
    columns = tuple(f"{metric}_{checkpoint}" for metric in shown for checkpoint in checkpoints)
    rows = tuple(_row(experiment, row, results, checkpoints, columns) for row in experiment.rows)
    return Table(
        title=experiment.file.title,
        data=experiment.file.data,
        axes=tuple(experiment.file.axis),
        checkpoints=checkpoints,
        columns=columns,
        baselines=tuple(", ".join(baseline.values()) for baseline in experiment.file.table.baselines),
        rows=rows,
        sources=tuple(published.source for published in experiment.file.table.published),
        notes=tuple(_notes(experiment, rows, results, checkpoints)),
    )


def _checkpoints(experiment: Experiment, results: Mapping[str, Results]) -> tuple[CheckpointName, ...]:
    """As the results call for; before there are any, as the rows' ways of choosing an epoch do."""
    reports = [result.report for found in results.values() for result in found.values()]
    if reports:
        return shown_checkpoints(reports)
    only_last = all(row.cells[0].config.train.select == "last" for row in experiment.rows)
    return CHECKPOINTS[:1] if only_last else CHECKPOINTS


def _results(row: Row, workspace: Workspace) -> Results:
    found = {}
    for cell in row.cells:
        folder = find_run(cell.config, workspace)
        result = None if folder is None else read_result(cell.config, folder)
        if result is not None:
            found[cell.seed] = result
    return found


def _row(
    experiment: Experiment,
    row: Row,
    results: Mapping[str, Results],
    checkpoints: tuple[CheckpointName, ...],
    columns: tuple[str, ...],
) -> TableRow:
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
        seen=_labels([result.report for result in own.values()]),
        accuracies=_accuracies(own, columns),
        comparisons=tuple(
            _compare(row, experiment.baseline_of(row, baseline), results, checkpoints)
            for baseline in experiment.file.table.baselines
        ),
        published=published,
        photos_in_reach=worst_reach(result.report.photos_in_reach for result in own.values()) if own else None,
        selection=row.cells[0].config.train.select,
    )


def _labels(reports: list[EvaluationReport]) -> Labels:
    train, selection = (
        {getattr(report, field) for report in reports} for field in ("train_labels", "selection_labels")
    )
    return Labels(*(next(iter(found)) if len(found) == 1 else None for found in (train, selection)))


def _accuracies(results: Results, columns: tuple[str, ...]) -> dict[str, MeanAndStd]:
    """By column, those that all of the row's results have."""
    found = {}
    for column in columns:
        metric, _, checkpoint = column.rpartition("_")
        chosen = [result.report.at("last" if checkpoint == "last" else "best") for result in results.values()]
        if chosen and None not in chosen:
            found[column] = mean_and_std([getattr(accuracies, metric) for accuracies in chosen])
    return found


def _compare(
    row: Row, baseline: Row | None, results: Mapping[str, Results], checkpoints: tuple[CheckpointName, ...]
) -> Comparison:
    if baseline is None or baseline is row:
        return Comparison(None if baseline is None else "", 0, {}, None)
    own, other = results[row.name], results[baseline.name]
    differences = _differences(own, other, checkpoints)
    return Comparison(baseline.name, len(own.keys() & other.keys()), differences, find_verdict(differences))


def _differences(
    own: Results, other: Results, checkpoints: tuple[CheckpointName, ...]
) -> dict[CheckpointName, PairedDifference]:
    """Over the draws that both rows have; empty where there are none, or the recordings of a draw differ."""
    pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    same = all(a.report.recordings_digest == b.report.recordings_digest for a, b in pairs)
    if not pairs or not same:
        return {}
    first, second = ([(result.report, result.predictions) for result in side] for side in zip(*pairs, strict=True))
    found = {checkpoint: find_difference(first, second, checkpoint) for checkpoint in checkpoints}
    return {checkpoint: difference for checkpoint, difference in found.items() if difference is not None}


def _notes(
    experiment: Experiment,
    rows: tuple[TableRow, ...],
    results: Mapping[str, Results],
    checkpoints: tuple[CheckpointName, ...],
) -> list[str]:
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
    notes.append(
        f"Mean ± sample standard deviation over n draws (seeds {seeds}; {_what_is_drawn(experiment, results)})."
    )
    if sizes:
        notes.append(
            "Labels seen: of recordings, in all classes: those that trained, and behind the + those "
            "that chose the epoch of best. Labels of static images are not counted."
        )
    if checkpoints == ("last", "best"):
        notes.append(
            f"Last comes first: fewer than {MIN_SELECTING} validation recordings of a class, or other recordings than "
            "validation's, chose an epoch of best, or their number is not known."
        )
    selections = sorted({row.selection for row in rows}) if "best" in checkpoints else []
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
    notes += _notes_on_differences(rows, checkpoints, "their splits too" if file.vary_split else "these recordings")
    notes += [f"[{number}] {source.source}" for number, source in enumerate(file.table.published, 1)]
    return notes


def _what_is_drawn(experiment: Experiment, results: Mapping[str, Results]) -> str:
    """Beside the seed of training, by each draw."""
    vary_split = experiment.file.vary_split
    own = [_draws_labels(row, {} if vary_split else results[row.name]) for row in experiment.rows]
    some = "" if all(own) else " where not all train"
    drawn = f"each with its own labelled recordings{some}; " if any(own) else ""
    return drawn + ("each with its own split" if vary_split else "all with one split")


def _draws_labels(row: Row, results: Results) -> bool:
    """Whether the row's draws have other labelled recordings. results: those whose splits differ in these alone.

    Draws that are to have their own may yet all train on everything, as their splits then tell.
    """
    if len(results) > 1:
        return len({result.report.split_digest for result in results.values()}) > 1
    return len({cell.config.pairing.subset_seed for cell in row.cells}) > 1


def _notes_on_differences(rows: tuple[TableRow, ...], checkpoints: tuple[CheckpointName, ...], drawn: str) -> list[str]:
    found = [of for row in rows for comparison in row.comparisons for of in comparison.differences.values()]
    shown = " and ".join(checkpoints)
    notes = []
    if any(difference.draws is not None for difference in found):
        notes.append(
            "Differences: in top-1, in points, draw by draw, with two 95 % intervals: Student's t over draws (other "
            f"draws, {drawn}) and (rec.) a bootstrap of the recordings, {NUM_RESAMPLES:,} resamples (other "
            f"recordings, these networks). Ahead or behind: all of {shown}, over draws and over recordings, lie on one "
            "side of 0; otherwise open."
        )
    if any(lacks_last(comparison.differences) for row in rows for comparison in row.comparisons):
        notes.append(f"{NO_LAST[0].upper()}{NO_LAST[1:]}.")
    if any(difference.draws is None for difference in found):
        notes.append(f"[{DASH}]: an interval and a verdict need {MIN_DRAWS} draws that both rows have.")
    return notes
