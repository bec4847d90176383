"""Analyses of a run folder, each with its picture beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..stages.analysis import style
from ..stages.analysis.catalogue import ANALYSES
from ..stages.analysis.config import AnalysisConfig
from ..stages.analysis.results import AnalysisReport, result_path
from ..stages.analysis.subject import Progress, no_progress
from ..stages.network.config import ARCHITECTURES
from .experiment import open_splits_of, read_run


@dataclass(frozen=True)
class AnalysisFiles:
    """What an analysis found, and where that and its picture lie. arrays: None where it has none."""

    report: AnalysisReport
    result: Path
    arrays: Path | None
    picture: Path


def analyses_of(folder: Path) -> list[str]:
    """The names of the analyses that the run in `folder` can have. Raises as `analyse` does."""
    has_images = open_splits_of(folder)("test").has_images
    network = read_run(folder).get("experiment", {}).get("model", {}).get("name")
    is_known = network is None or network in ARCHITECTURES
    return [
        name
        for name, analysis in ANALYSES.items()
        if (has_images or not analysis.needs_images) and (is_known or not analysis.needs_known_layers)
    ]


def analyse(
    name: str, config: AnalysisConfig, folder: Path, *, restart: bool = False, progress: Progress = no_progress
) -> AnalysisFiles:
    """Run the analysis `name` on the run in `folder`, or take what it left; draw it where it is not drawn yet.

    Raises TrainingError when there is no such run, StoreError when its cache is gone.
    """
    analysis = ANALYSES[name]
    analysis.run(config, open_splits_of(folder), folder, restart=restart, progress=progress)
    report, arrays = analysis.read(folder)
    picture = result_path(folder, name, ".png")
    if not picture.exists():
        style.save(analysis.draw(report, arrays), picture)
    return AnalysisFiles(
        report=report,
        result=result_path(folder, name),
        arrays=result_path(folder, name, ".npz") if arrays else None,
        picture=picture,
    )
