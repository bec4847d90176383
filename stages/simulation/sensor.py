"""One image becomes one recording."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..sources.base import Events, UInt8Array
from .config import SimulationConfig
from .kernel import draw_normal, fire, sort_by_time, unpack
from .motion import motion_margin, saccade_path, shown_size

SMALLEST_THRESHOLD = 0.01  # as in ESIM and v2e: mismatch never makes a pixel that fires without end


def simulate_image(image: UInt8Array, config: SimulationConfig, seed_key: str) -> Events:
    """Record one image: shown as large as it fits, moved through three saccades.

    image: (H, W) grey or (H, W, 3) RGB, uint8. seed_key: the recording's name, "<class>/<stem>"; with the
    configuration's seed it fixes the background activity. Returns events sorted by time, x < `sensor_width`,
    y < `sensor_height`. Raises ValueError for another shape or dtype.
    """
    log_image = _log_intensity(_shown(image, config), config.linear_below)
    margin = motion_margin(config)
    # Beside the image the display goes on as at its border, so that the image's frame is no edge of its own.
    log_image = np.pad(log_image, ((margin, margin + 1), (margin, margin + 1)), mode="edge")
    times_us, x_px, y_px = saccade_path(config)
    on_threshold, off_threshold = _thresholds(config)
    step_s = (times_us[1] - times_us[0]) * 1e-6
    noise_gap = 1 / (config.noise_rate_hz * step_s) if config.noise_rate_hz else math.inf
    seed = _hash64(f"{config.seed}/noise/{seed_key}")

    room = 8 * log_image.size
    while True:
        packed = np.empty(room, np.int64)
        num_events = fire(
            log_image, margin, times_us, x_px, y_px, on_threshold, off_threshold,
            config.refractory_us, noise_gap, seed, packed,
        )  # fmt: skip
        if num_events <= room:
            break
        room = num_events
    ordered = sort_by_time(packed[:num_events], np.empty(num_events, np.int64), int(times_us[-1]))
    events = Events(
        x=np.empty(num_events, np.uint16),
        y=np.empty(num_events, np.uint16),
        t=np.empty(num_events, np.int64),
        p=np.empty(num_events, np.uint8),
    )
    unpack(ordered, events.x, events.y, events.t, events.p)
    return events


def _shown(image: UInt8Array, config: SimulationConfig) -> UInt8Array:
    """The image in grey (ITU-R 601 luma) at the size at which it is shown."""
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"expected an image (H, W) or (H, W, 3) of uint8, got shape {image.shape} of {image.dtype}")
    picture = Image.fromarray(image).convert("L")
    size = shown_size(picture.width, picture.height, config)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _log_intensity(grey: UInt8Array, linear_below: float) -> NDArray[np.float32]:
    """v2e's lin-log map of grey values (Hu et al. 2021), by table."""
    slope = math.log(linear_below) / linear_below
    table = [slope * value if value <= linear_below else math.log(value) for value in range(256)]
    return np.array(table, np.float32)[grey]


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
