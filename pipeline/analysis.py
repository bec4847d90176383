"""Analyses of a run folder, each with its picture beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.errors import ConfigError
from ..stages.analysis import style
from ..stages.analysis.catalogue import ANALYSES
from ..stages.analysis.results import AnalysisReport, Progress, no_progress, result_path
from ..stages.network.config import ARCHITECTURES
from .config import build
from .experiment import open_splits_of, read_run


@dataclass(frozen=True)
class AnalysisFiles:
    """What an analysis found, and where that and its picture lie. arrays, picture: None where it has none."""

    report: AnalysisReport
    result: Path
    arrays: Path | None
    picture: Path | None


def analyses_of(folder: Path) -> list[str]:
    """The names of "all analyses" of the run in `folder`: those with a picture. Raises as `analyse` does."""
    has_images = open_splits_of(folder)("test").has_images
    network = read_run(folder).get("experiment", {}).get("model", {}).get("name")
    is_known = network is None or network in ARCHITECTURES
    return [
        name
        for name, of in ANALYSES.items()
        if of.draw is not None and (has_images or not of.needs_images) and (is_known or not of.needs_known_layers)
    ]


def analyse(
    run: str | Path, name: str, *, restart: bool = False, progress: Progress = no_progress, **options: Any
) -> AnalysisFiles:
    """Run the analysis `name` on the run in a folder, or take what it left; draw it where it is not drawn yet.

    restart: measure again, even if nothing has changed.  options: fields of the analysis' configuration, None for the
    default. Raises ConfigError: no such analysis or option. TrainingError: no such run. StoreError: its cache is gone.
    """
    if name not in ANALYSES:
        raise ConfigError(f"{name}: no such analysis; there are {', '.join(ANALYSES)}")
    analysis, folder = ANALYSES[name], Path(run)
    config = build(analysis.config, **options)
    report: Any = analysis.run(config, open_splits_of(folder), folder, restart=restart, progress=progress)
    picture = result_path(folder, name, ".png")
    if analysis.draw is not None and not picture.exists():
        style.save(analysis.draw(*analysis.read(folder)), picture)
    return AnalysisFiles(
        report=report,
        result=result_path(folder, name),
        arrays=result_path(folder, name, ".npz") if report.arrays else None,
        picture=None if analysis.draw is None else picture,
    )
