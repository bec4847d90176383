"""What the saccade simulator can be told: the sensor, the motion, and which folder of images becomes recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SimulationConfig(BaseModel):
    """The sensor and its motion. Everything here changes the recordings; the same values give the same bytes.

    Sources of the defaults: Orchard et al. 2015 (N-Caltech101: camera, display, saccades), ESIM (Rebecq et al. 2018)
    and v2e (Hu et al. 2021) for the pixel model, N-MNIST's own recordings for the background activity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed of the sensor's mismatch and of the background activity.")
    sensor_width: int = Field(
        default=240, ge=8, le=256, description="Columns of the recorded field, pixels (Orchard 2015; x is one byte)."
    )
    sensor_height: int = Field(
        default=180, ge=8, le=240, description="Rows of the recorded field, pixels (Orchard 2015; y = 240 is reserved)."
    )
    amplitude_px: float = Field(
        default=4.65,
        gt=0,
        le=64,
        description="Base and height of the triangle, pixels: 1 degree, 8 mm lens, 30 um pixels (Orchard 2015).",
    )
    saccade_us: int = Field(
        default=100_000,
        ge=1_000,
        le=1_000_000,
        description="Duration of each of the three saccades, us (Orchard 2015).",
    )
    max_step_px: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest motion between two samples of the log intensity, pixels (ESIM's adaptive sampling: 0.5).",
    )
    on_threshold: float = Field(
        default=0.25,
        ge=0.05,
        le=2,
        description="Rise of the log intensity that fires an ON event (v2e: 0.2; 0.25 gives Caltech101's photos "
        "N-Caltech101's number of events).",
    )
    off_threshold: float = Field(
        default=0.25,
        ge=0.05,
        le=2,
        description="Fall of the log intensity that fires an OFF event (as `on_threshold`).",
    )
    threshold_sigma: float = Field(
        default=0.03, ge=0, le=0.5, description="Standard deviation of both thresholds from pixel to pixel (v2e: 0.03)."
    )
    refractory_us: int = Field(
        default=500, ge=0, le=100_000, description="Time for which a pixel that fired stays silent, us (v2e: 500)."
    )
    noise_rate_hz: float = Field(
        default=0.3,
        ge=0,
        le=100,
        description="Background activity of each pixel, events/s, both polarities alike "
        "(N-MNIST's corner pixels, which no digit reaches: 0.2 to 0.4).",
    )
    linear_below: float = Field(
        default=20,
        ge=1,
        le=255,
        description="Grey value, 0 to 255, below which a straight line to 0 takes the logarithm's place: "
        "8 bits have too few steps in the dark (v2e's lin-log: 20).",
    )

    @model_validator(mode="after")
    def _leaves_room_for_the_image(self) -> Self:
        smallest = min(self.sensor_width, self.sensor_height)
        if self.amplitude_px > smallest / 2:
            raise ValueError(f"amplitude_px = {self.amplitude_px:g} is more than half of the field's {smallest} pixels")
        return self


class SimulateConfig(BaseModel):
    """Which images become recordings, and where they go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Path = Field(description="Folder of class folders of images.")
    out: Path = Field(description="Folder to write: N-Caltech101's layout, Caltech101/ and Caltech101_annotations/.")
    simulation: SimulationConfig = Field(default_factory=SimulationConfig, description="Sensor and motion.")
