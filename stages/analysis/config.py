"""What can be chosen about the analyses of a trained network; without torch, for the command line."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ...cache.documents import Frozen

Distance = Literal["cosine", "euclidean"]
_MOST = "most recordings to look at, drawn by the seed, classes as equally as possible"


class AnalysisConfig(Frozen):
    """What all analyses share. Fields named in `neutral` change speed and memory, not the result."""

    neutral: ClassVar[frozenset[str]] = frozenset({"batch_size", "device", "threads"})

    checkpoint: Literal["best", "last"] = Field("best", description="weights: of the selected epoch or of the last one")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of every draw of the analysis")
    batch_size: int = Field(64, ge=1, description="recordings in a step")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")


class RecordingsConfig(AnalysisConfig):
    """What the analyses of some recordings of one split share."""

    split: Literal["auto", "train", "validation", "test"] = Field(
        "auto", description="split to look at; auto: validation, or train where there are no validation recordings"
    )
    num_recordings: int = Field(256, ge=1, description=_MOST)


class ActivityConfig(RecordingsConfig):
    """Firing rates of each layer and time step, synaptic operations, and an estimate of energy beside an ANN's."""

    num_recordings: int = Field(1024, ge=1, description=_MOST)


class AlignmentConfig(RecordingsConfig):
    """CKA between recordings and images in each layer, before and after training; w_t and sliding over the epochs."""

    neutral: ClassVar[frozenset[str]] = frozenset({"device", "threads"})

    batch_size: int = Field(
        64, ge=8, description="recordings in a step; batch norm and CKA see one such batch at a time"
    )


class EmbeddingConfig(RecordingsConfig):
    """t-SNE of the aligned features of recordings and images."""

    num_recordings: int = Field(
        1000, ge=1, le=5000, description="most recordings to embed, and as many images; drawn by the seed"
    )
    perplexity: float = Field(30.0, ge=1, description="t-SNE's perplexity; at most a third of the points is used")


class GradCamConfig(RecordingsConfig):
    """Where in recordings and their photos the network sees the class, at each time step."""

    num_recordings: int = Field(6, ge=1, description="recordings to explain, drawn by the seed, classes in turn")
    layer: str | None = Field(None, description="layer whose maps are shown, e.g. backbone.6; unset: the last one")
    target: Literal["predicted", "label"] = Field("predicted", description="class that the maps explain")


class LandscapeConfig(RecordingsConfig):
    """The loss around the trained weights, on a line and on a square; goes on where it was interrupted."""

    num_recordings: int = Field(
        128,
        ge=1,
        description="recordings that the loss is the mean of, drawn by the seed, classes as equally as possible",
    )
    extent: float = Field(1.0, gt=0, description="how far to go each way, in lengths of each filter")
    points_1d: int = Field(31, ge=3, le=1001, description="points on the line; odd, so that the weights are one")
    points_2d: int = Field(15, ge=3, le=201, description="points on each side of the square; odd")

    @field_validator("points_1d", "points_2d")
    @classmethod
    def _have_a_centre(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError("expected an odd number: the weights are the point in the middle")
        return points


class FewShotConfig(AnalysisConfig):
    """Accuracy in N-way k-shot episodes: every number of ways with every number of shots."""

    classes: Literal["all", "seen", "novel"] = Field(
        "all",
        description="seen: classes that were trained, support from training and queries from test recordings; novel: "
        "those of pairing.novel_classes; all: seen, and novel where there are some",
    )
    ways: tuple[int, ...] = Field((5, 20), min_length=1, description="classes in an episode")
    shots: tuple[int, ...] = Field((1, 5), min_length=1, description="support recordings of each class")
    queries: int = Field(5, ge=1, description="query recordings of each class in an episode")
    episodes: int = Field(1000, ge=2, description="episodes for each number of ways and shots")
    distance: Distance = Field("cosine", description="to a class's mean feature: cosine or euclidean")

    @model_validator(mode="after")
    def _are_episodes(self) -> Self:
        if min(self.ways) < 2 or min(self.shots) < 1:
            raise ValueError(f"an episode has at least 2 ways and 1 shot; found ways {self.ways}, shots {self.shots}")
        return self
