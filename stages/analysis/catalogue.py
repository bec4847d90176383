"""All analyses by name."""

from __future__ import annotations

from typing import Any

from . import activity, alignment, embedding, few_shot, grad_cam, landscape
from .config import ActivityConfig, AlignmentConfig, EmbeddingConfig, FewShotConfig, GradCamConfig, LandscapeConfig
from .results import Analysis


def _analysis(name: str, version: int, config: Any, of: Any, **needs: Any) -> Analysis:
    draw, caveat = getattr(of, "draw", None), getattr(of, "caveat", None)
    return Analysis(name, version, config, of.Report, of.measure, draw, of.TITLE, of.READING, caveat, **needs)


_LISTED = (
    _analysis("activity", 2, ActivityConfig, activity, needs_known_layers=True),
    _analysis("alignment", 3, AlignmentConfig, alignment, needs_images=True, reads_metrics=True, min_recordings=4),
    _analysis("embedding", 2, EmbeddingConfig, embedding, min_recordings=4),
    _analysis("grad-cam", 2, GradCamConfig, grad_cam, needs_known_layers=True),
    _analysis("landscape", 2, LandscapeConfig, landscape),
    _analysis("few-shot", 1, FewShotConfig, few_shot),
)
ANALYSES = {analysis.name: analysis for analysis in _LISTED}
