"""How the image moves: three saccades along an isosceles triangle, and the size at which an image is shown."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig

# Corners in units of the amplitude, x to the right and y down: down and right, up and right, straight back to the left.
# The digits in N-MNIST's recordings move this way, by 4 to 5 pixels.
TRIANGLE = ((0.0, 0.0), (0.5, 1.0), (1.0, 0.0), (0.0, 0.0))


def saccade_path(config: SimulationConfig) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return times_us, x_px, y_px, each (num_steps + 1,): when the image is sampled and how far it is moved by then.

    Each saccade follows a raised cosine, which starts and ends at rest: N-MNIST's event rate rises and falls three
    times in the same way. Time steps are equal, and short enough for `max_step_px` at the highest speed.
    """
    times, x, y = [np.zeros(1)], [np.zeros(1)], [np.zeros(1)]
    corners = [(config.amplitude_px * cx, config.amplitude_px * cy) for cx, cy in TRIANGLE]
    longest_side = max(math.dist(start, end) for start, end in pairwise(corners))
    num_steps = math.ceil(longest_side * math.pi / 2 / config.max_step_px)  # pi / 2: peak speed over mean speed
    share = np.arange(1, num_steps + 1) / num_steps
    moved = (1 - np.cos(math.pi * share)) / 2
    for number, ((x0, y0), (x1, y1)) in enumerate(pairwise(corners)):
        times.append(config.saccade_us * (number + share))
        x.append(x0 + moved * (x1 - x0))
        y.append(y0 + moved * (y1 - y0))
    return np.concatenate(times), np.concatenate(x), np.concatenate(y)


def motion_margin(config: SimulationConfig) -> int:
    """Pixels, in each direction, that the motion needs beside the image."""
    return math.ceil(config.amplitude_px)


def shown_size(width: int, height: int, config: SimulationConfig) -> tuple[int, int]:
    """The size (width, height), pixels, at which an image is shown: as large as fits, its aspect ratio kept.

    Orchard et al. 2015 show every photo as large as the camera's 240 x 180 field allows; here less the motion's margin,
    so that no event falls outside of the field.
    """
    margin = motion_margin(config)
    free_width, free_height = config.sensor_width - margin, config.sensor_height - margin
    scale = min(free_width / width, free_height / height)
    return (
        min(free_width, max(1, round(width * scale))),
        min(free_height, max(1, round(height * scale))),
    )


def shown_box(width: int, height: int, config: SimulationConfig) -> tuple[int, int, int, int]:
    """Where an image lies in the middle of its motion: x_min, y_min, x_max, y_max, pixels, the last ones within."""
    shown_width, shown_height = shown_size(width, height, config)
    middle = round(config.amplitude_px / 2)
    return middle, middle, middle + shown_width - 1, middle + shown_height - 1
