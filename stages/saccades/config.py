"""The camera that photos are moved before: its motion, its display, its pixels, and how much each varies."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from ...cache.documents import Frozen
from ..plugins import require_name

# What pan and tilt do, each as (begin, end, distance): in saccades, and in amplitudes, x to the right and y down. Each
# move is a raised cosine. The image goes down and then right, right and then up, and back to the left, where it stops
# short of its beginning. Measured on N-MNIST's training recordings (docs/simulator.md).
PAN: Final = ((0.41, 0.82, 0.28), (0.93, 1.75, 0.51), (1.54, 2.18, 0.21), (2.19, 2.92, -0.84))
TILT: Final = ((0.11, 0.76, 1.0), (1.15, 1.89, -1.0))
NUM_SACCADES: Final = 3
SMALLEST_THRESHOLD: Final = 0.01  # as in ESIM and v2e: mismatch never makes a pixel that fires without end

STROKES: Final = "strokes"
MOTION_NAMES: Final = ("saccades", "loop", "drift", STROKES)
MOST_SAMPLES: Final = 100  # of a time bin


def _rises(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"expected [lowest, highest]; found {list(bounds)}")
    return bounds


Positive = Annotated[float, Field(gt=0)]
PositiveBounds = Annotated[tuple[Positive, Positive], AfterValidator(_rises)]
NotNegative = Annotated[float, Field(ge=0)]
SignedBounds = Annotated[tuple[float, float], AfterValidator(_rises)]
Bounds = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_rises)]


class SaccadeConfig(Frozen):
    """How photos become event frames. Of what is [lowest, highest], each photo of each batch draws its own value.

    Lengths are shares of the frame's side, so that they are the same for any size of frames.
    """

    LATER = frozenset({"mirrored", "ink", "pen"})

    motion: str = Field(
        "saccades",
        description="saccades: a triangle in three saccades (N-MNIST, N-Caltech101); loop: a closed loop at constant "
        "speed (CIFAR10-DVS); drift: a smooth path of its own for each photo (CEP-DVS); strokes: nothing moves, the "
        "image is drawn as its strokes were (N-Omniglot), and amplitude, direction_degrees, surround and gamma change "
        "nothing; or your own, as package.module:Name",
    )
    ink: PositiveBounds = Field(
        (0.02, 0.05),
        description="strokes: how long ink stays when the pen has left, share of the time of drawing; 1 and more: for "
        "good",
    )
    pen: PositiveBounds = Field(
        (0.04, 0.055), description="strokes: width of the pen, share of the image's side; Omniglot's images have 0.048"
    )
    amplitude: PositiveBounds = Field((0.03, 0.05), description="how far the motion reaches, share of the frame's side")
    direction_degrees: float = Field(5.0, ge=0, le=180, description="largest turn of the motion's path, degrees")
    start: SignedBounds = Field(
        (-0.02, 0.02), description="how much earlier the motion is than `motion` says, share of the recording"
    )
    speed: PositiveBounds = Field(
        (0.95, 1.05), description="speed of the motion; 1: it fills the recording, more: it ends before"
    )
    inverted: bool = Field(False, description="the display shows photos as negatives (N-MNIST)")
    surround: Literal["edge", "black"] = Field(
        "edge", description="what is beside the photo: its outermost pixels, or black as it is displayed"
    )
    scale: PositiveBounds = Field((1.0, 1.1), description="the photo's side, share of the frame's")
    shift: float = Field(
        0.02, ge=0, le=0.5, description="largest shift of the photo each way, share of the frame's side"
    )
    rotation_degrees: float = Field(3.0, ge=0, le=180, description="largest rotation of the photo, degrees")
    mirrored: float = Field(0.0, ge=0, le=1, description="a photo is mirrored, left to right, with this probability")
    gamma: PositiveBounds = Field((1.8, 2.6), description="exponent of the display: luminance over grey value")
    black_level: PositiveBounds = Field(
        (0.03, 0.1), description="luminance of black, share of white's: less is more contrast"
    )
    on_threshold: PositiveBounds = Field((0.2, 0.5), description="rise of the log luminance that fires an ON event")
    off_threshold: PositiveBounds = Field((0.2, 0.5), description="fall of the log luminance that fires an OFF event")
    mismatch: float = Field(
        0.05, ge=0, le=1, description="standard deviation of thresholds from pixel to pixel, share of the threshold"
    )
    start_spread: float = Field(
        1.0, ge=0, le=1, description="how far apart pixels start, share of the range between their thresholds"
    )
    noise: Bounds = Field(
        (0.0, 0.1), description="mean number of background events of a pixel in a recording, both polarities together"
    )
    hot_pixels: float = Field(0.0, ge=0, description="mean number of hot pixels in a frame")
    hot_pixel_events: float = Field(
        20.0, ge=0, description="mean number of events of a hot pixel in a recording, both polarities together"
    )
    samples_per_bin: int = Field(
        3,
        ge=1,
        le=MOST_SAMPLES,
        description="moments of a time bin at which luminance is looked at: more is slower and finer; strokes: two "
        "at least while ink stays",
    )

    @property
    def reads(self) -> Literal["saccade", "strokes"]:
        """The encoding of images that the camera records: their luma, or how they were drawn."""
        return "strokes" if self.motion == STROKES else "saccade"

    @field_validator("motion")
    @classmethod
    def _is_known(cls, motion: str) -> str:
        require_name("motions", motion, MOTION_NAMES)
        return motion
