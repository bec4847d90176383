"""The report of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..cache.errors import ConfigError, TrainingError
from ..stages.evaluation.compare import ComparisonReport
from ..stages.evaluation.results import EvaluatedSplit, read_evaluation
from ..stages.reporting import run as reporting
from ..stages.reporting.records import RunSource, evaluated_splits
from .experiment import open_splits_of, read_run
from .results import compare_runs
from .workspace import Workspace


def default_page(runs: Sequence[Path], workspace: Workspace) -> Path:
    """Where the report of these runs goes: into the folder of the only one, or beside those of several."""
    return runs[0] / "report" / "report.html" if len(runs) == 1 else workspace.runs / "report.html"


def report(runs: Sequence[Path], out: Path) -> reporting.ReportFiles:
    """Write an HTML page of one or several evaluated runs to `out`.

    Several runs are compared on the splits that all were evaluated on, with the first one's method as the baseline.
    Raises TrainingError: no such run, one without results, files that are damaged, runs that cannot be compared;
    StoreError: the cache of a run is gone or damaged; ConfigError: `out` is named as another kind of file.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: reports are written as HTML; give a name that ends in .html")
    sources = [RunSource(folder, read_run(folder), open_splits_of(folder)) for folder in runs]
    comparisons = {} if len(runs) == 1 else {split: _compare(runs, split) for split in evaluated_splits(runs)}
    return reporting.run(sources, comparisons, out)


def _compare(runs: Sequence[Path], split: EvaluatedSplit) -> ComparisonReport:
    first = read_evaluation(runs[0], split)
    for folder in runs[1:]:
        other = read_evaluation(folder, split)
        if other.checkpoint != first.checkpoint:
            raise TrainingError(
                f"{runs[0]} was evaluated with its {first.checkpoint} weights, {folder} with its {other.checkpoint} "
                "weights; run `dvs-transfer evaluate` for both with the same evaluate.checkpoint"
            )
    return compare_runs(runs, split=split, checkpoint=first.checkpoint, across_protocols=True)
