"""What the saccade simulator can be told: display, sensor and motion, and which folder of images becomes recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from ...cache.documents import Frozen


class SimulationConfig(Frozen):
    """Display, sensor and motion. Everything here changes the recordings; the same values give the same bytes.

    The defaults are N-Caltech101's camera; `CAMERAS` has N-MNIST's. docs/simulator.md says where each value is from and
    how far recordings agree with real ones.
    """

    LATER = frozenset({"hot_pixels", "hot_pixel_rate_hz"})

    seed: int = Field(
        0,
        ge=0,
        description="Seed of the sensor's mismatch and hot pixels, of its state at the start and of background events; "
        "cameras of one seed have one sensor.",
    )
    sensor_width: int = Field(
        240, ge=8, le=256, description="Columns of the field, pixels (Orchard 2015; x is one byte)."
    )
    sensor_height: int = Field(
        180, ge=8, le=240, description="Rows of the field, pixels (Orchard 2015; y = 240 is reserved)."
    )
    placement: Literal["fitted", "padded"] = Field(
        "fitted",
        description="fitted: an image is shown as large as the field, and the pixels that see it during all of the "
        "motion are recorded, as in N-Caltech101; padded: it is shown pixel for pixel (smaller only where it does not "
        "fit) amid grey 0, and the whole field is recorded, as in N-MNIST.",
    )
    inverted: bool = Field(
        False, description="Show grey value v as 255 - v: N-MNIST's digits are dark on a bright display."
    )
    black_level: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="Luminance of grey 0 as a share of white's: the display's own and what the room adds "
        "(sRGB, IEC 61966-2-1: 0.01 to 0.05; 0.03 meets N-MNIST's training recordings).",
    )
    gamma: float = Field(
        2.2, gt=0, le=5, description="Exponent of the display: luminance over grey value (IEC 61966-2-1: 2.2)."
    )
    blur_px: float = Field(
        0.4,
        ge=0,
        le=5,
        description="Standard deviation of the lens's and the pixel's blur, pixels (N-MNIST's training recordings).",
    )
    amplitude_px: float = Field(
        5.4,
        gt=0,
        le=64,
        description="How far the image moves to the right and down, pixels (N-MNIST's training recordings).",
    )
    saccade_us: int = Field(
        100_000,
        ge=1_000,
        le=1_000_000,
        description="Duration of each of the three saccades, us (Orchard 2015).",
    )
    max_step_px: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Largest motion between two samples of the log intensity, pixels (ESIM's adaptive sampling: 0.5).",
    )
    on_threshold: float = Field(
        0.32,
        ge=0.05,
        le=2,
        description="Rise of the log luminance that fires an ON event (Caltech101's photos give N-Caltech101's number "
        "of events; v2e: 0.2).",
    )
    off_threshold: float = Field(
        0.32,
        ge=0.05,
        le=2,
        description="Fall of the log luminance that fires an OFF event (as `on_threshold`).",
    )
    threshold_sigma: float = Field(
        0.03, ge=0, le=0.5, description="Standard deviation of both thresholds from pixel to pixel (v2e: 0.03)."
    )
    start_spread: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How far apart pixels start, as a share of the range between their thresholds: what earlier motion "
        "left; 0: each starts at rest.",
    )
    refractory_us: int = Field(
        1500,
        ge=0,
        le=100_000,
        description="Time for which a pixel that fired stays silent, us "
        "(the shortest gaps in N-MNIST's training recordings).",
    )
    noise_rate_hz: float = Field(
        0.3,
        ge=0,
        le=100,
        description="Background activity of each pixel, events/s, both polarities alike "
        "(N-MNIST's corner pixels, which no digit reaches: 0.2 to 0.5).",
    )
    hot_pixels: int = Field(
        0,
        ge=0,
        le=1_000,
        description="Pixels of the sensor that fire whatever they see, the same in every recording.",
    )
    hot_pixel_rate_hz: float = Field(
        100.0,
        gt=0,
        le=10_000,
        description="Events/s of a hot pixel, refractory times not counted, both polarities alike.",
    )

    @model_validator(mode="after")
    def _leaves_room_for_the_image(self) -> Self:
        smallest = min(self.sensor_width, self.sensor_height)
        if self.amplitude_px > smallest / 2:
            raise ValueError(f"amplitude_px = {self.amplitude_px:g} is more than half of the field's {smallest} pixels")
        return self


Camera = Literal["ncaltech101", "nmnist"]
CAMERAS: Final[dict[Camera, SimulationConfig]] = {
    "ncaltech101": SimulationConfig(),
    "nmnist": SimulationConfig(
        sensor_width=34, sensor_height=34, placement="padded", inverted=True, on_threshold=0.53, off_threshold=0.53
    ),
}


class SimulateConfig(Frozen):
    """Which images become recordings, and where they go."""

    images: Path = Field(description="Folder of class folders of images.")
    out: Path = Field(description="Folder to write: N-Caltech101's layout, Caltech101/ and Caltech101_annotations/.")
    simulation: SimulationConfig = Field(SimulationConfig(), description="Display, sensor and motion.")
