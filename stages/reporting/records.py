"""What runs left in their folders, read and checked for a report, and which of them are one method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.errors import TrainingError, command_line
from ...cache.paired import PairedCache
from ..analysis.arrays import Arrays
from ..analysis.catalogue import ANALYSES
from ..analysis.results import AnalysisReport
from ..batches.data import OpenSplit
from ..evaluation.compare import ComparisonReport
from ..evaluation.config import EVALUATED_SPLITS, EvaluatedSplit
from ..evaluation.results import Outcome, evaluate_again, evaluation_path, read_outcome
from ..runs.history import TrainingPeriod, read_history
from ..runs.metrics import MetricsLine, read_metrics
from ..runs.origin import settings_of


@dataclass(frozen=True)
class Evaluated(Outcome):
    """A run's results on one split, and the split. predictions: in the order of the split's recordings."""

    split: PairedCache


@dataclass(frozen=True)
class RunRecord:
    """A run. metrics, history: empty for imported weights. evaluated, analyses: what exists of them."""

    folder: Path
    document: Mapping[str, Any]
    metrics: list[MetricsLine]
    history: tuple[TrainingPeriod, ...]
    evaluated: Mapping[EvaluatedSplit, Evaluated]
    analyses: Mapping[str, tuple[AnalysisReport, Arrays]]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def first(self) -> Evaluated:
        """Of the splits that were evaluated, the one shown first."""
        return next(iter(self.evaluated.values()))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The configuration, by section; without them for imported weights."""
        return settings_of(self.document)


def evaluated_splits(folders: Iterable[Path]) -> list[EvaluatedSplit]:
    """The splits that every run was evaluated on. Raises TrainingError, naming a run, when there is none."""
    found = {
        folder: [split for split in EVALUATED_SPLITS if evaluation_path(folder, split).is_file()] for folder in folders
    }
    for folder, splits in found.items():
        if not splits:
            raise TrainingError(f"{folder}: no results to report; run `{command_line('evaluate', folder)}` first")
    common = [split for split in EVALUATED_SPLITS if all(split in splits for splits in found.values())]
    if not common:
        listed = "; ".join(f"{folder}: {', '.join(splits)}" for folder, splits in found.items())
        raise TrainingError(
            f"the runs were evaluated on different splits ({listed}); "
            "run `dvs-transfer evaluate RUN --split test` for each"
        )
    return common


def read_record(
    folder: Path, document: Mapping[str, Any], open_split: OpenSplit, splits: Sequence[EvaluatedSplit]
) -> RunRecord:
    """Everything about a run that was evaluated on `splits`. document: what its `config.json` holds.

    Raises TrainingError: no finished epoch, or files that are damaged or of other weights; StoreError: its cache is
    gone or damaged.
    """
    evaluated = {name: _read_evaluated(folder, open_split, name) for name in splits}
    metrics = read_metrics(folder)
    if not metrics and not any(entry.report.method == "imported" for entry in evaluated.values()):
        raise TrainingError(f"{folder}: no finished epoch here (no metrics.jsonl); train with `dvs-transfer train`")
    return RunRecord(
        folder=folder,
        document=document,
        metrics=metrics,
        history=read_history(folder),
        evaluated=evaluated,
        analyses={name: analysis.read(folder) for name, analysis in ANALYSES.items() if analysis.exists(folder)},
    )


def _read_evaluated(folder: Path, open_split: OpenSplit, name: EvaluatedSplit) -> Evaluated:
    outcome, split = read_outcome(folder, name), open_split(name)
    report, predictions = outcome.report, outcome.predictions
    if predictions.sample_ids != split.sample_ids:
        raise TrainingError(
            f"{evaluation_path(folder, name)}: of other recordings than the run's {name} split has now "
            f"({len(predictions.sample_ids)} and {len(split)}); {evaluate_again(folder, name)}"
        )
    return Evaluated(report, predictions, split)


@dataclass(frozen=True)
class Group:
    """Runs that differ in the draw alone. letter: stands for the name where there is little room."""

    name: str
    letter: str
    runs: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        return f"{self.letter}: {self.name}" if self.letter else self.name

    def label_of(self, record: RunRecord) -> str:
        """How a run is called in tables: by its draw where its group tells the rest."""
        if not self.letter:
            return record.name
        seed = record.settings.get("train", {}).get("seed")
        subset_seed = record.settings.get("pairing", {}).get("subset_seed")
        labels = f", labels of seed {subset_seed}" if subset_seed not in (None, seed) else ""
        return f"{self.letter}, seed {seed}{labels}" if seed is not None else self.letter


def group_runs(records: Sequence[RunRecord], comparison: ComparisonReport | None) -> list[Group]:
    """The groups of a comparison, in its order; without one the only run, a group of its own."""
    if comparison is None:
        (record,) = records
        return [Group(record.name, "", (record,))]
    by_folder = {record.folder: record for record in records}
    return [
        Group(method.method, _letter(index), tuple(by_folder[folder] for folder in method.runs))
        for index, method in enumerate(comparison.methods)
    ]


def _letter(index: int) -> str:
    """A ... Z, AA, AB ..."""
    before, last = divmod(index, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def labelled(groups: Sequence[Group]) -> list[tuple[str, RunRecord]]:
    """Every run with its label."""
    return [(group.label_of(record), record) for group in groups for record in group.runs]
