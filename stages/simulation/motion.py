"""How the image moves in three saccades, and where on the field it is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig

NUM_SACCADES: Final = 3
MotionPath = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# What pan and tilt do, each as (begin, end, distance): in saccades, and in amplitudes, x to the right and y down. Each
# move is a raised cosine. The image goes down and then right, right and then up, and back to the left, where it stops
# short of its beginning. Measured on N-MNIST's training recordings (docs/simulator.md).
PAN: Final = ((0.41, 0.82, 0.28), (0.93, 1.75, 0.51), (1.54, 2.18, 0.21), (2.19, 2.92, -0.84))
TILT: Final = ((0.11, 0.76, 1.0), (1.15, 1.89, -1.0))


def saccade_path(config: SimulationConfig) -> MotionPath:
    """Return times_us, x_px, y_px, each (num_steps + 1,): when the image is sampled and how far it is moved by then.

    Time steps are equal, and short enough for `max_step_px` at the highest speed. Each coordinate is 0 at first and
    `amplitude_px` at most.
    """
    fine = np.linspace(0, NUM_SACCADES, 1000 * NUM_SACCADES + 1)
    fastest_px = config.amplitude_px * np.hypot(np.diff(_moved(PAN, fine)), np.diff(_moved(TILT, fine))).max() * 1000
    share = np.linspace(0, NUM_SACCADES, math.ceil(NUM_SACCADES * fastest_px / config.max_step_px) + 1)
    return (
        share * config.saccade_us,
        config.amplitude_px * _moved(PAN, share),
        config.amplitude_px * _moved(TILT, share),
    )


def _moved(moves: tuple[tuple[float, float, float], ...], at: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = sum(
        distance * (1 - np.cos(math.pi * np.clip((at - begin) / (end - begin), 0, 1))) / 2
        for begin, end, distance in moves
    )
    return np.clip(moved, 0, 1)  # rounding


def motion_margin(config: SimulationConfig) -> int:
    """Pixels, in each direction, that the motion needs beside the field."""
    return math.ceil(config.amplitude_px)


@dataclass(frozen=True, slots=True)
class Shown:
    """Where an image is seen. Widths and heights in pixels of the field.

    size: of the image on the field. field: what is recorded. corner: (x, y) of the image's first pixel on the field
    before anything moves; negative where the field begins within the image.
    """

    size: tuple[int, int]
    field: tuple[int, int]
    corner: tuple[int, int]

    def box(self, amplitude_px: float) -> tuple[int, int, int, int]:
        """x_min, y_min, x_max, y_max of the image in the middle of its motion, the last ones within, on the field."""
        middle = round(amplitude_px / 2)
        spans = [
            (min(max(corner + middle, 0), field - 1), min(max(corner + middle + size - 1, 0), field - 1))
            for corner, size, field in zip(self.corner, self.size, self.field, strict=True)
        ]
        return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def shown(width: int, height: int, config: SimulationConfig) -> Shown:
    """Where an image of `width` x `height` pixels is seen (see `SimulationConfig.placement`), its aspect ratio kept.

    fitted: as large as the field (Orchard et al. 2015); of a side of n pixels, n less the motion's are recorded, so
    that no event is of anything beside the image: 173 rows of N-Caltech101's 180. padded: in the middle of the motion
    it lies in the middle of the field.
    """
    margin, sensor = motion_margin(config), (config.sensor_width, config.sensor_height)
    if config.placement == "padded":
        size = _scaled(width, height, sensor[0] - margin, sensor[1] - margin, largest=1)
        corner = tuple(
            math.ceil((field - side - config.amplitude_px) / 2) for field, side in zip(sensor, size, strict=True)
        )
        return Shown(size, sensor, (corner[0], corner[1]))
    size = _scaled(width, height, *sensor, largest=math.inf)
    return Shown(size, (max(1, size[0] - margin), max(1, size[1] - margin)), (-margin, -margin))


def _scaled(width: int, height: int, most_width: int, most_height: int, largest: float) -> tuple[int, int]:
    scale = min(most_width / width, most_height / height, largest)
    return min(most_width, max(1, round(width * scale))), min(most_height, max(1, round(height * scale)))
