"""What `dvs-transfer convert` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from ...cache.documents import Frozen
from ...cache.places import place
from ..frames.spec import FramesConfig, ImagesConfig


class ConversionOptions(Frozen):
    """How raw data become a store, whatever the source."""

    samples_per_shard: int = Field(64, ge=1, le=65536, description="samples in one shard, the unit of work and repair")
    strict: bool = Field(False, description="stop at the first broken sample instead of quarantining it")


class ConvertConfig(Frozen):
    """One raw data set into one store. Which of `frames` and `images` is used depends on the source's kind."""

    source: str = Field(description="name of the source, see `dvs-transfer sources`, or `module:Reader`")
    raw: Path = Field(description="folder or archive that holds the raw data")
    out: Annotated[Path, PlainValidator(place)] = Field(description="folder or address that gets the store")
    frames: FramesConfig = FramesConfig()
    images: ImagesConfig = ImagesConfig()
    conversion: ConversionOptions = ConversionOptions()
    simulation: dict[str, Any] | None = Field(
        None,
        description="of a source of images: the simulated camera that records them, for a store of events (fields of "
        "SimulationConfig, which is not imported here: it loads numba)",
    )

    def for_kind(self, kind: Literal["events", "images"]) -> dict[str, Any]:
        """The part that decides what a store of this kind holds: what goes into its fingerprint."""
        part: FramesConfig | ImagesConfig = self.frames if kind == "events" else self.images
        described = {
            "source": self.source,
            "samples_per_shard": self.conversion.samples_per_shard,
            "frames" if kind == "events" else "images": part.model_dump(mode="json"),
        }
        if self.simulation is not None:
            described["simulation"] = self.simulation
        return described
