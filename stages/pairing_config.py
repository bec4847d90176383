"""How recordings and photos are joined and split: the configuration alone, so that it can be had without zarr."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PairingConfig(BaseModel):
    """How recordings and photos are joined and split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["disjoint", "unrestricted"] = Field(
        "disjoint",
        description="disjoint: no photo of a validation or test recording is in the static pool; "
        "unrestricted: every photo is, and results are marked as leaky",
    )
    train: float = Field(0.8, gt=0, le=1, description="share of each class's recordings that train")
    validation: float = Field(0.1, ge=0, lt=1, description="share of each class's recordings that choose the epoch")
    test: float = Field(0.1, gt=0, lt=1, description="share of each class's recordings that are tested once")
    train_share: float = Field(1.0, gt=0, le=1, description="part of the training recordings that is used")
    seed: int = Field(0, ge=0, description="seed of the split")

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"train + validation + test must be at most 1, they are {total:g}")
        return self
