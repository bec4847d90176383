"""What `dvs-transfer few-shot` can be told: the configuration alone, so that it can be had without torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Distance = Literal["cosine", "euclidean"]

# What changes speed and memory, not the result.
NEUTRAL_FIELDS = frozenset({"batch_size", "device", "threads"})


class FewShotConfig(BaseModel):
    """What to measure: every number of ways with every number of shots."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    seed: int = Field(0, ge=0, description="seed of the episodes")
    checkpoint: Literal["best", "last"] = Field("best", description="weights: of the selected epoch or of the last one")
    batch_size: int = Field(64, ge=1, description="recordings in a step; changes speed and memory only")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")

    @model_validator(mode="after")
    def _are_episodes(self) -> Self:
        if min(self.ways) < 2 or min(self.shots) < 1:
            raise ValueError(f"an episode has at least 2 ways and 1 shot; found ways {self.ways}, shots {self.shots}")
        return self
