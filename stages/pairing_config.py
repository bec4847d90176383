"""How recordings and photos are joined and split: the configuration alone, so that it can be had without zarr."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ..cache.documents import MAX_CONFIG_BYTES, Frozen, read_document
from ..cache.errors import DvsTransferError


class PairingConfig(Frozen):
    """How recordings and photos are joined and split."""

    LATER = frozenset({"subset_seed"})

    protocol: Literal["disjoint", "unrestricted"] = Field(
        "disjoint",
        description="disjoint: no photo of a validation, test or novel recording, as far as these are known, and "
        "no copy of one is in the static pool; unrestricted: every photo is",
    )
    train: float = Field(0.8, gt=0, le=1, description="share of each class's recordings that train")
    validation: float = Field(0.1, ge=0, lt=1, description="share of each class's recordings that choose the epoch")
    test: float = Field(0.1, gt=0, lt=1, description="share of each class's recordings that are tested once")
    train_share: float = Field(1.0, gt=0, le=1, description="part of the training recordings that is used")
    train_per_class: int | None = Field(
        None, ge=1, description="training recordings of each class that are used, at most; unset: as train_share says"
    )
    pool_share: float = Field(1.0, gt=0, le=1, description="part of each class's photos that makes the static pool")
    classes: Literal["same", "shared"] = Field(
        "same",
        description="same: recordings and images must have the same classes; shared: those that both have are used",
    )
    image_classes: dict[str, str] = Field(
        {},
        description="class of the images that teaches a class of the recordings, where its name is another: a table, "
        'or a TOML file of lines like "car_side" = "automobile"',
    )
    originals: Literal["auto", "by_id", "by_number", "none"] = Field(
        "auto",
        description="which image a recording was made of. auto: as the sources say; of your own data the one of the "
        "same name, and of other recordings it is not known. by_id: the one of the same name, else none; by_number: of "
        "the same last number in its name, else none; none: no image is a recording's",
    )
    novel_classes: tuple[str, ...] = Field(
        (),
        description="classes by name or pattern (* and ?) that are kept out of training, validation, test and static "
        "pool: their recordings are the split `novel`, for few-shot evaluation",
    )
    seed: int = Field(0, ge=0, description="seed of the split")
    subset_seed: int | None = Field(
        None,
        ge=0,
        description="draws which recordings train, of those that neither validate nor test, where not all do; unset: "
        "as seed",
    )

    @field_validator("image_classes", mode="before")
    @classmethod
    def _read_file(cls, value: Any) -> Any:
        if not isinstance(value, str | Path):
            return value
        try:
            return tomllib.loads(read_document(Path(value), MAX_CONFIG_BYTES).decode())
        except (OSError, ValueError, RecursionError, DvsTransferError) as error:
            raise ValueError(f"expected a TOML file of class names: {error}") from None

    @property
    def uses_all(self) -> bool:
        """Whether the ratios leave no recording over."""
        return self.train + self.validation + self.test > 1 - 1e-9

    @property
    def draws_labels(self) -> bool:
        """Whether some recordings that could train do not, so that `subset_seed` chooses those that do."""
        return not self.uses_all or self.train_share < 1 or self.train_per_class is not None

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        total = self.train + self.validation + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"train + validation + test must be at most 1, they are {total:g}")
        if self.train_per_class is not None and self.train_share < 1:
            raise ValueError("train_share and train_per_class both limit the training recordings: set one of them")
        return self
