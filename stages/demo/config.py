"""What the demo's drawn data sets look like from outside: how many, from which seed, seen by which camera."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ...cache.documents import Frozen
from ..simulation import SimulationConfig


class DemoConfig(Frozen):
    """Where the demo's data sets go, and how large they are."""

    out: Path = Field(description="Folder to write: Caltech101/, N-Caltech101/ and CEP-DVS/ come to lie in it.")
    seed: int = Field(0, ge=0, description="Seed of the drawings.")
    images_per_class: int = Field(
        40, ge=1, le=9999, description="Photos, each with its recording, of each of the ten classes."
    )
    pairs_per_class: int = Field(8, ge=1, le=1000, description="CEP-DVS pairs of each of the ten classes.")
    simulation: SimulationConfig = Field(
        SimulationConfig(), description="The simulated camera that records both event data sets."
    )
