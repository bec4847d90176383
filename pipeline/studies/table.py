"""The table of a study: what its finished cells say, and what a reader must know about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...cache.pairs import Reach, worst_reach
from ...stages.evaluation import compare as of_methods
from ...stages.evaluation.results import DEFAULT_WAY, MIN_SELECTING, Outcome
from ...stages.evaluation.statistics import MIN_DRAWS, NUM_RESAMPLES, MeanAndStd, PairedDifference
from ...stages.runs.checkpoint import CheckpointName
from ..workspace import Workspace
from .cells import find_run, read_result
from .study import Row, Selector, Study, name_with_axes

DASH = "\N{EN DASH}"  # where there is no interval
Results = Mapping[int, Outcome]  # by seed
Checkpoints = tuple[CheckpointName, ...]
CHECKPOINTS: Checkpoints = ("last", "best")


@dataclass(frozen=True)
class Comparison:
    """top-1, less that of the row `baseline` (None: there is no such row, "": it is this row), by checkpoint.

    shared: draws that both finished. differences: empty without one, or where they were tested on other recordings.
    """

    baseline: str | None
    shared: int
    differences: Mapping[CheckpointName, PairedDifference]
    verdict: of_methods.Verdict | None


@dataclass(frozen=True)
class Labels:
    """Labelled recordings that a row's networks saw, in all classes: that trained, and that chose the epoch of `best`
    beside them. None: not known, or not the same of all draws."""

    train: int | None
    selection: int | None


@dataclass(frozen=True)
class TableRow:
    """A row's finished cells. Accuracies in [0, 1]; published: top-1 by the number of its source, in [0, 1], and
    published_reach: whether photos of its test recordings taught.

    photos_in_reach: of held-out recordings, of the cells together; None without a finished cell. way: how the networks
    were asked.
    accuracies: by column; empty without a finished cell. comparisons: one for each of the table's baselines.
    """

    labels: Mapping[str, str]
    num_done: int
    num_seeds: int
    seen: Labels
    accuracies: Mapping[str, MeanAndStd]
    comparisons: tuple[Comparison, ...]
    published: Mapping[int, float]
    published_reach: Mapping[int, Reach]
    photos_in_reach: Reach | None
    selection: str
    way: str


@dataclass(frozen=True)
class Table:
    """Rows, and notes of a line each. columns: like "top1_best". sources: of published figures, numbered from 1.

    checkpoints: those that are shown, the one to go by first.
    """

    title: str
    data: str
    axes: tuple[str, ...]
    checkpoints: Checkpoints
    columns: tuple[str, ...]
    baselines: tuple[str, ...]
    rows: tuple[TableRow, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]


UNREAL = {"demo": "the drawn demo data", "simulated": "simulated recordings"}
_SELECTION = {
    "validation": "the epoch with the highest validation accuracy; the test recordings had no part in it",
    "test_as_released": "the epoch with the highest test accuracy, as the released code chooses it, which flatters it",
    "last": "the last epoch",
}


def make_table(study: Study, workspace: Workspace, metrics: list[of_methods.Metric] | None = None) -> Table:
    """The table of the cells that are done; `metrics` instead of those that the file names."""
    file = study.file
    results: dict[str, Results] = {}
    for row in study.rows:
        found = {cell.seed: read_result(cell.config, find_run(cell.config, workspace)) for cell in row.cells}
        results[row.name] = {seed: result for seed, result in found.items() if result is not None}
    reports = [result.report for of_row in results.values() for result in of_row.values()]
    checkpoints: Checkpoints
    if reports:
        checkpoints = of_methods.shown_checkpoints(reports)
    else:  # as the rows' ways of choosing an epoch call for
        checkpoints = CHECKPOINTS[: 1 if all(row.cells[0].config.train.select == "last" for row in study.rows) else 2]
    columns = tuple(f"{metric}_{checkpoint}" for metric in metrics or file.table.metrics for checkpoint in checkpoints)
    rows = tuple(_row(study, row, results, checkpoints, columns) for row in study.rows)
    return Table(
        title=file.title,
        data=file.data,
        axes=tuple(file.axis),
        checkpoints=checkpoints,
        columns=columns,
        baselines=_name_baselines(file.table.baselines),
        rows=rows,
        sources=tuple(published.source for published in file.table.published),
        notes=tuple(text for text, holds in _notes(study, rows, results, checkpoints).items() if holds),
    )


def _name_baselines(baselines: Sequence[Selector]) -> tuple[str, ...]:
    """By their labels, and by the axes' names too where another one has the same."""
    names = [", ".join(baseline.values()) for baseline in baselines]
    return tuple(
        name if names.count(name) == 1 else name_with_axes(baseline)
        for name, baseline in zip(names, baselines, strict=True)
    )


def _row(
    study: Study, row: Row, results: Mapping[str, Results], checkpoints: Checkpoints, columns: tuple[str, ...]
) -> TableRow:
    own, table = results[row.name], study.file.table
    reports = [result.report for result in own.values()]
    accuracies = {
        f"{metric}_{checkpoint}": spread
        for checkpoint in checkpoints
        for metric, spread in of_methods.over_draws(reports, checkpoint).items()
    }
    published = {
        number: (figure.top1 / 100, figure.photos_in_reach or source.photos_in_reach)
        for number, source in enumerate(table.published, 1)
        for figure in source.figures
        if row.matches(figure.of)
    }
    baselines = [study.baseline_of(row, baseline) for baseline in table.baselines]
    return TableRow(
        labels=row.labels,
        num_done=len(own),
        num_seeds=len(row.cells),
        seen=Labels(of_methods.common(reports, "train_labels"), of_methods.common(reports, "selection_labels")),
        accuracies={column: accuracies[column] for column in columns if column in accuracies},
        comparisons=tuple(_compare(row, baseline, results, checkpoints) for baseline in baselines),
        published={number: top1 for number, (top1, _) in published.items()},
        published_reach={number: reach for number, (_, reach) in published.items()},
        photos_in_reach=worst_reach(report.photos_in_reach for report in reports) if reports else None,
        selection=row.cells[0].config.train.select,
        way="; ".join(sorted({report.way for report in reports})),
    )


def _compare(row: Row, baseline: Row | None, results: Mapping[str, Results], checkpoints: Checkpoints) -> Comparison:
    """Over the draws that both rows have."""
    if baseline is None or baseline is row:
        return Comparison(None if baseline is None else "", 0, {}, None)
    own, other = results[row.name], results[baseline.name]
    pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    differences = {}
    if pairs and all(a.report.recordings_digest == b.report.recordings_digest for a, b in pairs):
        differences = of_methods.find_differences([a for a, _ in pairs], [b for _, b in pairs], checkpoints)
    return Comparison(baseline.name, len(pairs), differences, of_methods.find_verdict(differences))


def _notes(
    study: Study, rows: tuple[TableRow, ...], results: Mapping[str, Results], checkpoints: Checkpoints
) -> dict[str, bool]:
    """What a reader must know, and whether it holds."""
    file, shown = study.file, " and ".join(checkpoints)
    reports = [result.report for found in results.values() for result in found.values()]
    recordings = " or ".join(f"{size:,}" for size in sorted({report.num_samples for report in reports}))
    splits = " and the ".join(sorted({report.split for report in reports}))
    num_runs, missing = sum(row.num_seeds for row in rows), sum(row.num_seeds - row.num_done for row in rows)
    chosen_by: dict[str, list[str]] = {}
    for row in rows if "best" in checkpoints else ():
        chosen_by.setdefault(row.selection, []).append(", ".join(row.labels.values()))
    beside: dict[str, list[str]] = {}
    for of in study.rows:
        config, own = of.cells[0].config, results[of.name].values()
        use = config.train.unlabelled.use(config.evaluate.adapt)
        if use and own:
            counts = {result.report.unlabelled_recordings for result in own}
            known = " or ".join(f"{count:,}" for count in sorted(count for count in counts if count is not None))
            beside.setdefault(f"{known or 'not known how many'} for {use}", []).append(of.name)
    protocols: dict[str, list[str]] = {}
    for of in study.rows:
        for protocol in {result.report.protocol for result in results[of.name].values()}:
            protocols.setdefault(protocol, []).append(of.name)
    has_other_split = any("," in protocol for protocol in protocols)  # which is named behind the photos' rule
    reach = {row.photos_in_reach for row in rows}
    ways: dict[str, list[str]] = {}
    for of in study.rows:
        for way in {result.report.way for result in results[of.name].values()}:
            ways.setdefault(way, []).append(of.name)
    leaks, is_unreal = "some" in reach, file.data != "real"
    compared = [comparison.differences for row in rows for comparison in row.comparisons]
    has_interval = {of.draws is not None for differences in compared for of in differences.values()}
    return {
        f"Not run on the real data set: {UNREAL.get(file.data)}. Published figures are for the real one.": is_unreal,
        f"{missing} of {num_runs} runs are missing: n counts those that are there.": missing > 0,
        f"Per cent, on {recordings} recordings of the {splits} split.": bool(reports),
        "Recordings are in groups, such as pieces of one, which intervals over recordings resample whole.": any(
            report.num_groups for report in reports
        ),
        f"Mean ± sample standard deviation over n draws (seeds {', '.join(map(str, file.seeds))}; "
        f"{_what_is_drawn(study, results)}).": True,
        **{
            f"Protocol: {protocol}" + (f" ({'; '.join(names)})." if len(protocols) > 1 else "."): has_other_split
            for protocol, names in sorted(protocols.items())
        },
        f"Evaluated with: {DEFAULT_WAY}, where nothing else is said.": len(ways) > 1 and DEFAULT_WAY in ways,
        **{
            f"Evaluated with: {way}" + (f" ({'; '.join(names)})." if len(ways) > 1 else "."): way != DEFAULT_WAY
            for way, names in sorted(ways.items())
        },
        "Labels seen: of recordings, in all classes: those that trained, and behind the + those that chose the "
        "epoch of best. Labels of static images are not counted.": bool(reports),
        **{
            f"Beside the labels seen, recordings of the training split taught without theirs: {what} "
            f"({'; '.join(names)}).": True
            for what, names in beside.items()
        },
        f"Last comes first: fewer than {MIN_SELECTING} validation recordings of a class, or other recordings than "
        "validation's, chose an epoch of best, or their number is not known.": checkpoints == ("last", "best"),
        **{
            f"Best: {_SELECTION[selection]}" + (f" ({'; '.join(names)})." if len(chosen_by) > 1 else "."): True
            for selection, names in sorted(chosen_by.items())
        },
        "Where a row says nothing else, no photo of a held-out recording was in reach of training.": "none" in reach,
        "(leaky): photos that held-out recordings were made from were in training; the figures are too good.": leaks,
        "(leakage unknown): whether photos that held-out recordings were made from were in training is not "
        "known.": "unknown" in reach,
        "Differences: in top-1, in points, draw by draw, with two 95 % intervals: Student's t over draws (other "
        f"draws, {'their splits too' if file.vary_split else 'these recordings'}) and (rec.) a bootstrap of the "
        f"recordings, {NUM_RESAMPLES:,} resamples (other recordings, these networks). Ahead or behind: all of {shown}, "
        "over draws and over recordings, lie on one side of 0; otherwise open.": True in has_interval,
        f"{of_methods.NO_LAST[0].upper()}{of_methods.NO_LAST[1:]}.": any(map(of_methods.lacks_last, compared)),
        f"[{DASH}]: an interval and a verdict need {MIN_DRAWS} draws that both rows have.": False in has_interval,
        "Published figures: (leaky) where photos of their test recordings were in training, (clean) where none was, "
        "(leakage unknown) where that is not known; what else their protocol was is their source's to say.": bool(
            file.table.published
        ),
        **{f"[{number}] {source.source}": True for number, source in enumerate(file.table.published, 1)},
    }


def _what_is_drawn(study: Study, results: Mapping[str, Results]) -> str:
    """Beside the seed of training, by each draw. Draws that are to have their own labels may yet all train on
    everything, as their splits tell where they differ in nothing else."""
    vary_split = study.file.vary_split
    own = [
        len({cell.config.pairing.subset_seed for cell in row.cells}) > 1
        if vary_split or len(results[row.name]) < 2
        else len({result.report.split_digest for result in results[row.name].values()}) > 1
        for row in study.rows
    ]
    some = "" if all(own) else " where not all train"
    drawn = f"each with its own labelled recordings{some}; " if any(own) else ""
    return drawn + ("each with its own split" if vary_split else "all with one split")
