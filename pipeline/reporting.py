"""The report of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..cache.errors import ConfigError, TrainingError
from ..stages.evaluation.compare import ComparisonReport
from ..stages.evaluation.config import EvaluatedSplit
from ..stages.reporting.page import ReportFiles, write_page
from ..stages.reporting.records import RunRecord, evaluated_splits, read_record
from .experiment import open_splits_of, read_run
from .results import compare_runs
from .workspace import AnyRoot, Workspace


def report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None, root: AnyRoot = None) -> ReportFiles:
    """Write an HTML page of one or several evaluated runs to `out`: by default into the only one's folder, or runs/.

    Several runs are compared on the splits that all were evaluated on, with the first one's method as the baseline.
    Raises TrainingError: no such run, one without results, files that are damaged, runs that cannot be compared;
    StoreError: the cache of a run is gone or damaged; ConfigError: `out` is named as another kind of file.
    """
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    beside = folders[0] / "report" if len(folders) == 1 else Workspace.at(root).runs
    out = Path(out or beside / "report.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: reports are written as HTML; give a name that ends in .html")
    documents = [read_run(folder) for folder in folders]
    splits = evaluated_splits(folders)
    records = [
        read_record(folder, document, open_splits_of(folder), splits)
        for folder, document in zip(folders, documents, strict=True)
    ]
    comparisons = {} if len(folders) == 1 else {split: _compare(records, split) for split in splits}
    return write_page(records, comparisons, out)


def _compare(records: Sequence[RunRecord], split: EvaluatedSplit) -> ComparisonReport:
    first, *others = ((record.folder, record.evaluated[split].report.checkpoint) for record in records)
    for folder, checkpoint in others:
        if checkpoint != first[1]:
            raise TrainingError(
                f"{first[0]} was evaluated with its {first[1]} weights, {folder} with its {checkpoint} weights; "
                "run `dvs-transfer evaluate` for both with the same evaluate.checkpoint"
            )
    folders = [record.folder for record in records]
    return compare_runs(folders, split=split, checkpoint=first[1], across_protocols=True)
