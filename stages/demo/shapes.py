"""The ten objects of the demo, as outlines in a square from -1 to 1, x to the right and y down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BODY: Final = 255
DARK: Final = 120
HOLE: Final = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A polygon (n, 2) of an object, painted over the parts before it.

    tone: of the object's colour, 1 (dark) to 255 (full), or `HOLE`, through which the background shows.
    """

    points: NDArray[np.float64]
    tone: int = BODY


def _polygon(*points: tuple[float, float], tone: int = BODY) -> Part:
    return Part(np.array(points), tone)


def _box(x_min: float, y_min: float, x_max: float, y_max: float, tone: int = BODY) -> Part:
    return _polygon((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max), tone=tone)


def _arc(x: float, y: float, radius_x: float, radius_y: float, first: float, last: float) -> NDArray[np.float64]:
    """Points on an ellipse from angle `first` to `last`, degrees, clockwise from the right."""
    angles = np.radians(np.linspace(first, last, 40))
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def _ellipse(x: float, y: float, radius_x: float, radius_y: float, tone: int = BODY) -> Part:
    return Part(_arc(x, y, radius_x, radius_y, 0, 360), tone)


def _band(x: float, y: float, radius: float, width: float, first: float, last: float) -> Part:
    """A piece of a ring."""
    inner = radius - width
    return Part(np.concatenate([_arc(x, y, radius, radius, first, last), _arc(x, y, inner, inner, last, first)]))


def _star(num_points: int, inner: float) -> Part:
    corners = [
        ((1.0 if i % 2 == 0 else inner) * math.sin(angle), -(1.0 if i % 2 == 0 else inner) * math.cos(angle))
        for i, angle in enumerate(math.pi * k / num_points for k in range(2 * num_points))
    ]
    return _polygon(*corners)


SHAPES: Final[Mapping[str, tuple[Part, ...]]] = {
    "anchor": (
        _band(0, 0.0, 0.85, 0.2, 15, 165),
        _polygon((0.95, -0.05), (0.98, 0.45), (0.55, 0.28)),
        _polygon((-0.95, -0.05), (-0.98, 0.45), (-0.55, 0.28)),
        _box(-0.1, -0.6, 0.1, 0.8),
        _box(-0.45, -0.48, 0.45, -0.3),
        _ellipse(0, -0.76, 0.22, 0.22),
        _ellipse(0, -0.76, 0.1, 0.1, HOLE),
    ),
    "arrow": (_box(-0.95, -0.17, 0.25, 0.17), _polygon((0.15, -0.55), (0.95, 0), (0.15, 0.55))),
    "cup": (
        _ellipse(0.5, 0.0, 0.42, 0.42),
        _ellipse(0.5, 0.0, 0.24, 0.24, HOLE),
        _polygon((-0.75, -0.6), (0.45, -0.6), (0.3, 0.75), (-0.6, 0.75)),
        _ellipse(-0.15, -0.6, 0.6, 0.16, DARK),
    ),
    "fish": (
        _polygon((0.35, 0), (0.98, -0.45), (0.82, 0), (0.98, 0.45)),
        _polygon((-0.3, -0.3), (0.15, -0.75), (0.25, -0.2)),
        _ellipse(-0.2, 0, 0.75, 0.42),
        _ellipse(-0.62, -0.1, 0.08, 0.08, DARK),
        _band(-0.55, 0, 0.35, 0.05, -50, 50),
    ),
    "hammer": (
        _box(-0.1, -0.5, 0.1, 0.98, DARK),
        _box(-0.25, -0.8, 0.6, -0.4),
        _polygon((-0.25, -0.8), (-0.25, -0.45), (-0.85, -0.35), (-0.6, -0.6)),
    ),
    "key": (
        _ellipse(0, -0.58, 0.4, 0.4),
        _ellipse(0, -0.58, 0.2, 0.2, HOLE),
        _box(-0.1, -0.25, 0.1, 0.95),
        _box(0.05, 0.4, 0.42, 0.55),
        _box(0.05, 0.72, 0.34, 0.88),
    ),
    "moon": (_ellipse(0, 0, 0.9, 0.9), _ellipse(0.42, -0.12, 0.72, 0.72, HOLE)),
    "mushroom": (
        _polygon((-0.2, -0.1), (0.2, -0.1), (0.3, 0.85), (-0.3, 0.85), tone=DARK),
        Part(np.concatenate([_arc(0, -0.02, 0.88, 0.78, 180, 360), _arc(0, -0.02, 0.88, 0.18, 0, 180)])),
        _ellipse(-0.35, -0.35, 0.14, 0.12, DARK),
        _ellipse(0.25, -0.5, 0.12, 0.1, DARK),
        _ellipse(0.5, -0.2, 0.1, 0.08, DARK),
    ),
    "star": (_star(5, 0.42),),
    "umbrella": (
        _box(-0.05, -0.9, 0.05, 0.75, DARK),
        _band(0.17, 0.72, 0.22, 0.1, 0, 180),
        Part(np.concatenate([_arc(0, 0, 0.92, 0.78, 180, 360)])),
        *(_ellipse(x, 0, 0.31, 0.14, HOLE) for x in (-0.61, 0.0, 0.61)),
        _box(-0.05, -0.2, 0.05, 0.3, DARK),
    ),
}
