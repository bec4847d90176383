"""What can be chosen about the analyses of a trained network."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class AnalysisConfig(BaseModel):
    """What all analyses share. Fields named in `neutral` change speed and memory, not the result."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    neutral: ClassVar[frozenset[str]] = frozenset({"batch_size", "device", "threads"})

    split: Literal["auto", "train", "validation", "test"] = Field(
        "auto", description="split to look at; auto: validation, or train where there are no validation recordings"
    )
    checkpoint: Literal["best", "last"] = Field("best", description="weights: of the selected epoch or of the last one")
    num_recordings: int = Field(
        256, ge=1, description="most recordings to look at, drawn by the seed, classes as equally as possible"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of every draw of the analysis")
    batch_size: int = Field(64, ge=1, description="recordings in a step")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")


class ActivityConfig(AnalysisConfig):
    """Firing rates, synaptic operations, energy."""

    num_recordings: int = Field(
        1024, ge=1, description="most recordings to look at, drawn by the seed, classes as equally as possible"
    )


class AlignmentConfig(AnalysisConfig):
    """CKA between the domains."""

    neutral: ClassVar[frozenset[str]] = frozenset({"device", "threads"})

    batch_size: int = Field(
        64, ge=8, description="recordings in a step; batch norm and CKA see one such batch at a time"
    )


class EmbeddingConfig(AnalysisConfig):
    """t-SNE of both domains' features."""

    num_recordings: int = Field(
        1000, ge=1, le=5000, description="most recordings to embed, and as many images; drawn by the seed"
    )
    perplexity: float = Field(30.0, ge=1, description="t-SNE's perplexity; at most a third of the points is used")


class GradCamConfig(AnalysisConfig):
    """Grad-CAM on recordings and their photos."""

    num_recordings: int = Field(6, ge=1, description="recordings to explain, drawn by the seed, classes in turn")
    layer: str | None = Field(None, description="layer whose maps are shown, e.g. backbone.6; unset: the last one")
    target: Literal["predicted", "label"] = Field("predicted", description="class that the maps explain")


class LandscapeConfig(AnalysisConfig):
    """The loss around the trained weights."""

    num_recordings: int = Field(
        128,
        ge=1,
        description="recordings that the loss is the mean of, drawn by the seed, classes as equally as possible",
    )
    extent: float = Field(1.0, gt=0, description="how far to go each way, in lengths of each filter")
    points_1d: int = Field(31, ge=3, le=1001, description="points on the line; odd, so that the weights are one")
    points_2d: int = Field(15, ge=3, le=201, description="points on each side of the square; odd")
