"""One image becomes one recording."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..sources.base import Events, UInt8Array
from .config import SimulationConfig
from .kernel import draw_normal, fire, sort_by_time, unpack
from .motion import MotionPath, motion_margin, saccade_path, shown

SMALLEST_THRESHOLD = 0.01  # as in ESIM and v2e: mismatch never makes a pixel that fires without end


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

    room = 16 * log_image.size
    while True:
        packed = np.empty(room, np.int64)
        num_events = fire(
            log_image, motion_margin(config), times_us, x_px, y_px, on_threshold, off_threshold,
            config.refractory_us, config.start_spread, noise_gap, seed, packed,
        )  # fmt: skip
        if num_events <= room:
            break
        room = num_events
    ordered = sort_by_time(packed[:num_events], np.empty(num_events, np.int64), int(times_us[-1]))
    return Events(*unpack(ordered))


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


def _hash64(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
