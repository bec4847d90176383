"""The pixel model as compiled loops: log intensities and a path in, events sorted by time out.

Until it is sorted, an event is one int64 word, `time_us << 17 | y << 9 | x << 1 | p`: one array to move, not four.
Randomness is a hash (splitmix64) of seed and position: the same on every platform and for any order of the work.
"""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TIME_SHIFT = 17
_RADIX_BITS = 10
Y_SHIFT = 9
X_SHIFT = 1


@njit(nogil=True, cache=True, inline="always")
def _splitmix64(counter: Any) -> Any:
    """The output of splitmix64 (Steele et al. 2014) at `counter`: a hash, uniform over uint64."""
    z = np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def _uniform(bits: Any) -> Any:
    """The upper 53 bits as a float in (0, 1]: never 0, so that its logarithm exists."""
    return (np.float64(bits >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def draw_normal(seed: Any, out: NDArray[np.float64]) -> None:
    """Fill `out` (n,) with standard normal numbers (Box-Muller), a function of seed and index alone."""
    start = _splitmix64(np.uint64(seed))
    for i in range(out.shape[0]):
        first = _uniform(_splitmix64(start + np.uint64(2 * i)))
        second = _uniform(_splitmix64(start + np.uint64(2 * i + 1)))
        out[i] = math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)


@njit(nogil=True, cache=True)
def fire(
    log_image: NDArray[np.float32],
    margin: int,
    times_us: NDArray[np.float64],
    x_px: NDArray[np.float64],
    y_px: NDArray[np.float64],
    on_threshold: NDArray[np.float32],
    off_threshold: NDArray[np.float32],
    refractory_us: int,
    start_spread: float,
    noise_gap: float,
    seed: Any,
    out: NDArray[np.int64],
) -> int:
    """Move the image along the path; write the events that fit into `out`, row by row, and return how many there are.

    A pixel fires when its log intensity, linear in time between two samples, is a threshold away from where it last
    fired (ESIM, Rebecq et al. 2018). A crossing in its refractory time is passed over without an event, as in ESIM.
    Background events come as a Poisson process and leave the pixel's reference alone. At the start a pixel's level lies
    anywhere between its two thresholds, drawn evenly from `start_spread` (0 to 1) of that range.

    log_image: (h + 2 margin + 1, w + 2 margin + 1), an image of (h, w) with its surroundings; the field has
    (h + margin, w + margin) pixels.
    times_us, x_px, y_px: (num_steps + 1,), steps of equal duration, 0 <= x_px, y_px <= margin.
    on_threshold, off_threshold: at least as large as the field. noise_gap: mean of the background's waiting time, in
    steps of one pixel; infinity for none. A result above len(out) means: call again with that much room.
    """
    height, width = log_image.shape[0] - margin - 1, log_image.shape[1] - margin - 1
    now, before = np.empty(width, np.float32), np.empty(width, np.float32)
    upper, lower = np.empty(width, np.float32), np.empty(width, np.float32)
    last_us = np.empty(width, np.int64)
    crossed = np.zeros((width + 7) // 8 * 8, np.uint8)
    eight_crossed = crossed.view(np.uint64)  # most pixels are at rest: eight of them are passed over at once
    num_events = 0
    for y in range(height):
        on, off = on_threshold[y], off_threshold[y]
        _sample_row(log_image, margin, y, x_px[0], y_px[0], before)
        bits = _splitmix64(np.uint64(seed) + np.uint64(y))
        for x in range(width):
            bits = _splitmix64(bits)
            # 0.999: a start at a threshold itself would fire without motion.
            left_over = np.float32(0.999 * start_spread) * (on[x] - np.float32(_uniform(bits)) * (on[x] + off[x]))
            upper[x], lower[x] = before[x] + on[x] - left_over, before[x] - off[x] - left_over
            last_us[x] = -refractory_us
        bits = _splitmix64(bits)
        noise_at = -math.log(_uniform(bits)) * noise_gap  # counted in pixels, row of pixels after row of pixels
        for step in range(times_us.shape[0] - 1):
            start_us, step_us = times_us[step], times_us[step + 1] - times_us[step]
            _sample_row(log_image, margin, y, x_px[step + 1], y_px[step + 1], now)
            for x in range(width):
                crossed[x] = (now[x] >= upper[x]) | (now[x] <= lower[x])
            for eight in range(eight_crossed.shape[0]):
                if eight_crossed[eight] == 0:
                    continue
                for x in range(8 * eight, min(8 * eight + 8, width)):
                    if crossed[x] == 0:
                        continue
                    rising = now[x] > before[x]
                    level, stride = (upper[x], on[x]) if rising else (lower[x], -off[x])
                    us_per_level = step_us / (now[x] - before[x])
                    reference = level
                    while (level <= now[x]) if rising else (level >= now[x]):
                        time_us = np.int64(start_us + (level - before[x]) * us_per_level)
                        if time_us - last_us[x] >= refractory_us:
                            last_us[x] = time_us
                            num_events = _put(out, num_events, time_us, y, x, np.int64(rising))
                        reference = level
                        level += stride
                    upper[x], lower[x] = reference + on[x], reference - off[x]
            while noise_at < (step + 1) * width:
                place = noise_at - step * width
                x = int(place)
                time_us = np.int64(start_us + (place - x) * step_us)
                bits = _splitmix64(bits)
                if time_us - last_us[x] >= refractory_us:
                    last_us[x] = time_us
                    num_events = _put(out, num_events, time_us, y, x, np.int64(bits & np.uint64(1)))
                noise_at -= math.log(_uniform(bits)) * noise_gap
            before, now = now, before
    return num_events


@njit(nogil=True, cache=True)
def fire_alone(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    gap_us: float,
    refractory_us: int,
    end_us: float,
    seed: Any,
    out: NDArray[np.int64],
) -> int:
    """Events before `end_us` of pixels (n,) that fire whatever they see, written and counted as by `fire`.

    gap_us: mean of the waiting time, a Poisson process's, which begins anew after each refractory time.
    """
    num_events = 0
    for i in range(x.shape[0]):
        bits = _splitmix64(np.uint64(seed) + np.uint64(i))
        time_us = -math.log(_uniform(bits)) * gap_us
        while time_us < end_us:
            bits = _splitmix64(bits)
            num_events = _put(out, num_events, np.int64(time_us), y[i], x[i], np.int64(bits & np.uint64(1)))
            time_us += refractory_us - math.log(_uniform(bits)) * gap_us
    return num_events


@njit(nogil=True, cache=True, inline="always")
def _put(out: Any, num_events: int, time_us: int, y: int, x: int, polarity: int) -> int:
    """Write one packed event if there is room; count it in any case."""
    if num_events < out.shape[0]:
        out[num_events] = (time_us << TIME_SHIFT) | (y << Y_SHIFT) | (x << X_SHIFT) | polarity
    return num_events + 1


@njit(nogil=True, cache=True)
def _sample_row(log_image: Any, margin: int, y: int, x_px: float, y_px: float, out: Any) -> None:
    """Bilinear samples of the image moved by (x_px, y_px), for the field's row y."""
    shift_x, shift_y = math.ceil(x_px), math.ceil(y_px)
    right, below = np.float32(shift_x - x_px), np.float32(shift_y - y_px)
    left, above = np.float32(1) - right, np.float32(1) - below
    w00, w01, w10, w11 = above * left, above * right, below * left, below * right
    row, column, width = y + margin - shift_y, margin - shift_x, out.shape[0]
    a, b = log_image[row, column : column + width], log_image[row, column + 1 : column + 1 + width]
    c, d = log_image[row + 1, column : column + width], log_image[row + 1, column + 1 : column + 1 + width]
    for x in range(width):
        out[x] = w00 * a[x] + w01 * b[x] + w10 * c[x] + w11 * d[x]


def sort_by_time(packed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Packed events (n,) by time, stable; `packed` is overwritten."""
    last_us = int(packed.max(initial=0)) >> TIME_SHIFT
    ordered: NDArray[np.int64] = _radix_sort(packed, np.empty_like(packed), last_us)
    return ordered


@njit(nogil=True, cache=True)
def _radix_sort(packed: NDArray[np.int64], spare: NDArray[np.int64], last_us: int) -> NDArray[np.int64]:
    """The one of the two arrays that holds the sorted events, least digit first. last_us: no time is later."""
    digits = 1 << _RADIX_BITS
    mask = digits - 1
    shift = TIME_SHIFT
    while last_us > 0:
        starts = np.zeros(digits + 1, np.int64)
        for i in range(packed.shape[0]):
            starts[((packed[i] >> shift) & mask) + 1] += 1
        for digit in range(digits):
            starts[digit + 1] += starts[digit]
        for i in range(packed.shape[0]):
            digit = (packed[i] >> shift) & mask
            spare[starts[digit]] = packed[i]
            starts[digit] += 1
        packed, spare = spare, packed
        shift += _RADIX_BITS
        last_us >>= _RADIX_BITS
    return packed


def unpack(packed: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """x, y (uint16), t (int64, us) and p (uint8), each (n,), of packed events."""
    x, y = (((packed >> shift) & 0xFF).astype(np.uint16) for shift in (X_SHIFT, Y_SHIFT))
    return x, y, packed >> TIME_SHIFT, (packed & 1).astype(np.uint8)
