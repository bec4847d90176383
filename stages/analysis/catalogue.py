"""All analyses by name: how to run each, to read what it left, and to draw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import activity, alignment, embedding, grad_cam, landscape
from .config import ActivityConfig, AlignmentConfig, AnalysisConfig, EmbeddingConfig, GradCamConfig, LandscapeConfig
from .results import AnalysisReport, Arrays, read_result, result_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Analysis:
    """One analysis. run(config, open_split, run_folder, restart=, progress=) -> report; draw(report, arrays).

    needs_images: says nothing of a run whose recordings have no images.  needs_known_layers: nor of a user's network.
    """

    name: str
    config: type[AnalysisConfig]
    report: type[AnalysisReport]
    run: Callable[..., Any]
    draw: Callable[[Any, Arrays], Figure]
    needs_images: bool = False
    needs_known_layers: bool = False

    def exists(self, run_folder: Path) -> bool:
        """Whether the run folder holds a result."""
        return result_path(run_folder, self.name).is_file()

    def read(self, run_folder: Path) -> tuple[AnalysisReport, Arrays]:
        """The kept result. Raises TrainingError: there is none, or it is damaged."""
        return read_result(self.report, run_folder, self.name)


ANALYSES = {
    analysis.name: analysis
    for analysis in (
        Analysis(
            "activity", ActivityConfig, activity.ActivityReport, activity.run, activity.draw, needs_known_layers=True
        ),
        Analysis("alignment", AlignmentConfig, alignment.AlignmentReport, alignment.run, alignment.draw, True),
        Analysis("embedding", EmbeddingConfig, embedding.EmbeddingReport, embedding.run, embedding.draw),
        Analysis(
            "grad-cam", GradCamConfig, grad_cam.GradCamReport, grad_cam.run, grad_cam.draw, needs_known_layers=True
        ),
        Analysis("landscape", LandscapeConfig, landscape.LandscapeReport, landscape.run, landscape.draw),
    )
}
