"""One image becomes one recording: how it moves in three saccades, where on the field it is shown, what pixels see."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..saccades.config import NUM_SACCADES, PAN, SMALLEST_THRESHOLD, TILT
from ..sources.base import Events, UInt8Array
from .config import SimulationConfig
from .kernel import X_SHIFT, Y_SHIFT, draw_normal, fire, fire_alone, sort_by_time, unpack

NO_EVENTS: Final = "nothing in it moves a pixel by its threshold, and there is no background activity"
MotionPath = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def simulate_image(image: UInt8Array, config: SimulationConfig, seed_key: str) -> Events:
    """Record one image: shown on a display, moved through three saccades.

    image: (H, W) grey or (H, W, 3) RGB, uint8. seed_key: the recording's name, "<class>/<stem>"; with the
    configuration's seed it fixes how pixels start and the background activity. Returns events sorted by time,
    x < `sensor_width`, y < `sensor_height`. Raises ValueError for another shape or dtype.
    """
    return record(log_luminance(image, config), saccade_path(config), config, seed_key)


def record(log_image: NDArray[np.float32], path: MotionPath, config: SimulationConfig, seed_key: str) -> Events:
    """Record a display's log luminance, (h + margin + 1, w + margin + 1) for a field of (h, w), moved along `path`.

    path: as `saccade_path` returns it, at most `motion_margin` pixels long in each direction.
    """
    times_us, x_px, y_px = path
    on_threshold, off_threshold = _thresholds(config)
    step_s = (times_us[1] - times_us[0]) * 1e-6
    noise_gap = 1 / (config.noise_rate_hz * step_s) if config.noise_rate_hz else math.inf
    seed = _hash64(f"{config.seed}/noise/{seed_key}")

    packed = _write_all(
        lambda out: fire(
            log_image, motion_margin(config), times_us, x_px, y_px, on_threshold, off_threshold,
            config.refractory_us, config.start_spread, noise_gap, seed, out,
        ),
        room=16 * log_image.size,
    )  # fmt: skip
    if config.hot_pixels:
        packed = _with_hot_pixels(packed, times_us[-1], log_image.shape, config, seed_key)
    return Events(*unpack(sort_by_time(packed)))


def _write_all(fire_into: Callable[[NDArray[np.int64]], int], room: int) -> NDArray[np.int64]:
    """Packed events of a kernel that writes those there is room for, and counts them all."""
    out = np.empty(room, np.int64)
    num_events = fire_into(out)
    if num_events > room:
        out = np.empty(num_events, np.int64)
        fire_into(out)
    return out[:num_events]


def _with_hot_pixels(
    packed: NDArray[np.int64], end_us: float, shape: tuple[int, int], config: SimulationConfig, seed_key: str
) -> NDArray[np.int64]:
    """Packed events, those of hot pixels in place of what these would have seen."""
    x, y = _hot_places(config)
    margin = motion_margin(config)
    inside = (y < shape[0] - margin - 1) & (x < shape[1] - margin - 1)
    x, y, seed = x[inside], y[inside], _hash64(f"{config.seed}/hot/{seed_key}")
    gap_us = 1e6 / config.hot_pixel_rate_hz
    alone = _write_all(lambda out: fire_alone(x, y, gap_us, config.refractory_us, end_us, seed, out), room=1024)
    place = (packed >> X_SHIFT) & 0xFFFF  # y and x
    return np.concatenate([packed[~np.isin(place, y << (Y_SHIFT - X_SHIFT) | x)], alone])


def log_luminance(image: UInt8Array, config: SimulationConfig) -> NDArray[np.float32]:
    """What a pixel sees of the displayed image: float32, (h + margin + 1, w + margin + 1) for a field of (h, w).

    Grey (ITU-R 601 luma) at the size at which it is shown; luminance, as a share of white's,
    `black_level` + (1 - `black_level`) * (grey / 255) ** `gamma`; blurred by the lens; its logarithm.
    """
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"expected an image (H, W) or (H, W, 3) of uint8, got shape {image.shape} of {image.dtype}")
    picture = Image.fromarray(image).convert("L")
    place, margin = shown(picture.width, picture.height, config), motion_margin(config)
    if place.size != picture.size:
        picture = picture.resize(place.size, Image.Resampling.BILINEAR)
    before = [corner + margin for corner in place.corner]
    after = [
        max(0, field + margin + 1 - start - side)
        for field, start, side in zip(place.field, before, place.size, strict=True)
    ]
    beside = ((before[1], after[1]), (before[0], after[0]))
    grey = np.asarray(picture)
    grey = np.pad(grey, beside) if config.placement == "padded" else np.pad(grey, beside, mode="edge")
    luminance = _luminances(config)[grey]
    if config.blur_px:
        luminance = gaussian_filter(luminance, config.blur_px, mode="nearest")
    log_image: NDArray[np.float32] = np.log(luminance)
    return log_image


@lru_cache(maxsize=8)
def _luminances(config: SimulationConfig) -> NDArray[np.float32]:
    """Of each grey value, (256,), as a share of white's."""
    grey = np.linspace(1, 0, 256) if config.inverted else np.linspace(0, 1, 256)
    luminance: NDArray[np.float64] = config.black_level + (1 - config.black_level) * grey**config.gamma
    return luminance.astype(np.float32)


@lru_cache(maxsize=8)
def _thresholds(config: SimulationConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """ON and OFF thresholds, (sensor_height, sensor_width): mismatch is the sensor's, every image meets the same."""
    shape = (config.sensor_height, config.sensor_width)
    maps = []
    for name, mean in (("on", config.on_threshold), ("off", config.off_threshold)):
        normal = np.empty(shape[0] * shape[1])
        draw_normal(_hash64(f"{config.seed}/{name}"), normal)
        thresholds = mean + config.threshold_sigma * normal.reshape(shape)
        maps.append(np.maximum(thresholds, SMALLEST_THRESHOLD).astype(np.float32))
        maps[-1].setflags(write=False)
    return maps[0], maps[1]


@lru_cache(maxsize=8)
def _hot_places(config: SimulationConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """x and y of the hot pixels, on the whole sensor: every image meets the same."""
    normal = np.empty(config.sensor_height * config.sensor_width)
    draw_normal(_hash64(f"{config.seed}/hot"), normal)
    y, x = np.divmod(np.argsort(normal, kind="stable")[: config.hot_pixels], config.sensor_width)
    return x.astype(np.int64), y.astype(np.int64)


def _hash64(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


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
