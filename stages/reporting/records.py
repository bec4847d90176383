"""What runs left in their folders, read and checked for a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ...cache.pairs import Split
from ..analysis.catalogue import ANALYSES
from ..analysis.results import AnalysisReport, Arrays
from ..evaluation.few_shot import FewShotReport, read_few_shot, result_path
from ..evaluation.results import (
    EvaluatedSplit,
    EvaluationReport,
    Predictions,
    changed_weights,
    evaluation_path,
    read_evaluation,
    read_predictions,
)
from ..runs.history import TrainingPeriod, read_history
from ..runs.metrics import MetricsLine, read_metrics

OpenSplit = Callable[[Split], PairedCache]

# The splits that can be evaluated, in the order in which they are shown.
EVALUATED_SPLITS: tuple[EvaluatedSplit, ...] = ("test", "validation")


@dataclass(frozen=True)
class Evaluated:
    """A run's results on one split, and the split. predictions: in the order of the split's recordings."""

    report: EvaluationReport
    predictions: Predictions
    split: PairedCache


@dataclass(frozen=True)
class RunRecord:
    """A run. metrics, history: empty for imported weights. evaluated, analyses, few_shot: what exists of them."""

    folder: Path
    document: Mapping[str, Any]
    metrics: list[MetricsLine]
    history: tuple[TrainingPeriod, ...]
    evaluated: Mapping[EvaluatedSplit, Evaluated]
    analyses: Mapping[str, tuple[AnalysisReport, Arrays]]
    few_shot: FewShotReport | None = None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def has_images(self) -> bool:
        return next(iter(self.evaluated.values())).split.has_images

    @property
    def settings(self) -> Mapping[str, Any]:
        """The configuration, by section; without them for imported weights."""
        settings: Mapping[str, Any] = self.document.get("experiment", self.document)
        return settings


def evaluated_splits(folders: Iterable[Path]) -> list[EvaluatedSplit]:
    """The splits that every run was evaluated on. Raises TrainingError, naming a run, when there is none."""
    found = {
        folder: [split for split in EVALUATED_SPLITS if evaluation_path(folder, split).is_file()] for folder in folders
    }
    for folder, splits in found.items():
        if not splits:
            raise TrainingError(f"{folder}: no results to report; run `dvs-transfer evaluate {folder}` first")
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
        few_shot=read_few_shot(folder) if result_path(folder).is_file() else None,
    )


def _read_evaluated(folder: Path, open_split: OpenSplit, name: EvaluatedSplit) -> Evaluated:
    report = read_evaluation(folder, name)
    predictions = read_predictions(folder, report)
    again = f"run `dvs-transfer evaluate {folder} --split {name}` again"
    changed = changed_weights(folder, report)
    if changed is not None:
        raise TrainingError(
            f"{evaluation_path(folder, name)}: of other weights than {changed.name} holds now, or an earlier "
            f"version's; {again}"
        )
    split = open_split(name)
    if predictions.sample_ids != split.sample_ids:
        raise TrainingError(
            f"{evaluation_path(folder, name)}: of other recordings than the run's {name} split has now "
            f"({len(predictions.sample_ids)} and {len(split)}); {again}"
        )
    return Evaluated(report, predictions, split)
