"""The ten objects of the demo, and painting a photo of one: textured background, clutter, shadow, shading, light."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..sources.base import UInt8Array

Plane = NDArray[np.floating[Any]]

BODY: Final = 255
DARK: Final = 120
HOLE: Final = 0
_OVERSAMPLING = 2  # outlines are drawn larger and averaged: their edges are as soft as a lens makes them


@dataclass(frozen=True, slots=True)
class Part:
    """A polygon (n, 2) of an object, painted over the parts before it.

    tone: of the object's colour, 1 (dark) to 255 (full), or `HOLE`, through which the background shows.
    """

    points: NDArray[np.float64]
    tone: int = BODY


def paint(class_name: str, rng: np.random.Generator) -> UInt8Array:
    """One picture of the class, (H, W, 3) uint8 RGB of 150 to 250 pixels a side; all variation comes from `rng`."""
    width, height = (int(side) for side in rng.integers(150, 251, size=2))
    picture = _background(width, height, rng)
    for _ in range(rng.integers(0, 4)):
        _place(picture, _scrap(rng), rng, span=(0.06, 0.14), anywhere=True)
    _place(picture, SHAPES[class_name], rng, span=(0.36, 0.47), anywhere=False)
    picture *= _light(width, height, rng)[:, :, None]
    picture += rng.normal(0, 0.012, picture.shape).astype(np.float32)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _background(width: int, height: int, rng: np.random.Generator) -> Plane:
    """Two similar colours mixed by a texture, (height, width, 3) in [0, 1]."""
    first: Plane = _colour(rng, saturation=(0.05, 0.5), value=(0.35, 0.85))
    second = first * rng.uniform(0.25, 0.7) + 0.15 * rng.random(3).astype(np.float32)
    texture = (_cloud, _stripes, _checks)[rng.integers(3)](width, height, rng)
    grain = _cloud(width, height, rng, finest=5)
    mixed = np.clip(0.6 * texture + 1.2 * grain - 0.4, 0, 1)[:, :, None]
    colours: Plane = first + mixed * (second - first)
    return colours


def _cloud(width: int, height: int, rng: np.random.Generator, finest: int = 12) -> Plane:
    """Smooth noise in [0, 1]: random values on coarse grids, enlarged and added."""
    total = np.zeros((height, width), np.float32)
    for cell, weight in ((64, 0.5), (28, 0.3), (finest, 0.2)):
        coarse = rng.random((height // cell + 3, width // cell + 3), dtype=np.float32)
        total += weight * _resized(coarse, width, height)
    return total


def _stripes(width: int, height: int, rng: np.random.Generator) -> Plane:
    """Boards or cloth: stripes of any direction and width."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(14, 50)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + 2 * _cloud(width, height, rng))
    striped: Plane = np.clip(0.5 + rng.uniform(0.5, 3) * wave, 0, 1)
    return striped


def _checks(width: int, height: int, rng: np.random.Generator) -> Plane:
    """Tiles: each with its own brightness."""
    rows, columns = rng.integers(3, 8, size=2)
    tiles = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
    return np.asarray(tiles.resize((width, height), Image.Resampling.NEAREST), np.float32)


def _resized(plane: Plane, width: int, height: int) -> Plane:
    enlarged = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(enlarged, np.float32)


def _scrap(rng: np.random.Generator) -> tuple[Part, ...]:
    """A piece of clutter that is no object: a bent polygon."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
    radii = rng.uniform(0.3, 1, len(angles))
    return (Part(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1), BODY),)


def _place(
    picture: Plane,
    parts: Sequence[Part],
    rng: np.random.Generator,
    *,
    span: tuple[float, float],
    anywhere: bool,
) -> None:
    """Paint an object into the picture: pose, colour, shadow and shading at random.

    span: range of its half side, as a share of the picture's shorter side. anywhere: it may be cut off by the frame and
    turned in any way; otherwise it is whole, near the middle and roughly upright, as Caltech101's objects are.
    """
    height, width = picture.shape[:2]
    half = rng.uniform(*span) * min(width, height)
    pose = _pose(width, height, half, rng, anywhere)
    alpha, tone = _masks(width, height, parts, pose)
    light = rng.uniform(-1, 1, 2)
    shadow = _blurred(np.roll(alpha, (light * half * 0.12).astype(int)[::-1], (0, 1)), half * 0.06)
    picture *= (1 - rng.uniform(0.1, 0.5) * shadow)[:, :, None]
    colour = _colour(rng, saturation=(0.2, 0.95), value=(0.2, 1.0))
    shade = tone * _shading(alpha, half, light, rng)
    weight = alpha[:, :, None]
    picture *= 1 - weight
    picture += weight * np.clip(shade[:, :, None] * colour, 0, 1)


def _pose(width: int, height: int, half: float, rng: np.random.Generator, anywhere: bool) -> tuple[Plane, Plane]:
    """Where an outline lies, in pixels: at points @ matrix (2, 2) + centre (2,)."""
    angle = rng.uniform(-np.pi, np.pi) if anywhere else rng.normal(0, np.radians(12))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.diag(rng.uniform(0.8, 1.1, 2) * (rng.choice([-1, 1]), 1))
    shear = np.array([[1, rng.uniform(-0.15, 0.15)], [0, 1]])
    middle = np.array([width, height]) / 2
    reach = middle if anywhere else 0.5 * np.maximum(middle - half, 0)
    return half * stretch @ shear @ turn, middle + reach * rng.uniform(-1, 1, 2)


def _masks(width: int, height: int, parts: Sequence[Part], pose: tuple[Plane, Plane]) -> tuple[Plane, Plane]:
    """How much of each pixel the object covers, and the tone of its parts there; both (height, width) in [0, 1]."""
    size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    alpha, tone = Image.new("L", size), Image.new("L", size, BODY)
    for part in parts:
        points = [tuple(point) for point in ((part.points @ pose[0] + pose[1]) * _OVERSAMPLING).tolist()]
        ImageDraw.Draw(alpha).polygon(points, fill=HOLE if part.tone == HOLE else 255)
        ImageDraw.Draw(tone).polygon(points, fill=part.tone or BODY)
    smaller = [np.asarray(mask.reduce(_OVERSAMPLING), np.float32) / 255 for mask in (alpha, tone)]
    return smaller[0], smaller[1]


def _shading(alpha: Plane, half: float, light: NDArray[np.float64], rng: np.random.Generator) -> Plane:
    """Brightness of a rounded surface: edges toward the light brighter, the others darker; and a little grain."""
    height, width = alpha.shape
    slope_y, slope_x = np.gradient(_blurred(alpha, half * 0.12))
    relief = (slope_x * light[0] + slope_y * light[1]) * half * rng.uniform(0.3, 0.9)
    grain = _cloud(width, height, rng, finest=5) - 0.5
    plane: Plane = 1 + relief + rng.uniform(0.1, 0.5) * grain
    return plane


def _blurred(plane: Plane, radius: float) -> Plane:
    blurred = Image.fromarray((plane * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float32) / 255


def _light(width: int, height: int, rng: np.random.Generator) -> Plane:
    """The lamp: overall strength, and a fall-off across the picture."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.35) * (x * np.cos(angle) + y * np.sin(angle))
    plane: Plane = rng.uniform(0.5, 1.15) * (1 + slope)
    return plane


def _colour(
    rng: np.random.Generator, *, saturation: tuple[float, float], value: tuple[float, float]
) -> NDArray[np.float32]:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


# The objects, as outlines in a square from -1 to 1, x to the right and y down


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
