"""Frames that are drawn, beside recordings of the simulator with the same display, motion and pixels.

Each recording is of a sensor of its own, as each drawn one is. How far recordings of the simulator lie apart that
differ in the seed alone is the yardstick for those that are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from shown_photos import photos

from dvs_transfer.stages.saccades.config import NUM_SACCADES, SaccadeConfig
from dvs_transfer.stages.saccades.pixels import Camera
from dvs_transfer.stages.simulation.config import SimulationConfig
from dvs_transfer.stages.simulation.sensor import simulate_image

SIZE, PHOTO_SIZE, NUM_BINS, AMPLITUDE_PX = 34, 28, 10, 6
THRESHOLD, MISMATCH = 0.45, 0.1
SIMULATED = SimulationConfig(
    sensor_width=SIZE, sensor_height=SIZE, placement="padded", inverted=True, on_threshold=THRESHOLD,
    off_threshold=THRESHOLD, threshold_sigma=MISMATCH * THRESHOLD, refractory_us=0, blur_px=0, noise_rate_hz=1.0,
    black_level=0.05, amplitude_px=AMPLITUDE_PX, max_step_px=0.1,
)  # fmt: skip
NOISE = SIMULATED.noise_rate_hz * NUM_SACCADES * SIMULATED.saccade_us * 1e-6  # events of a pixel in a recording
DRAWN = SaccadeConfig(
    amplitude=(AMPLITUDE_PX / SIZE,) * 2, direction_degrees=0, start=(0, 0), speed=(1, 1),
    scale=(PHOTO_SIZE / SIZE,) * 2, shift=0, rotation_degrees=0, inverted=True, surround="black", gamma=(2.2, 2.2),
    black_level=(0.05, 0.05), on_threshold=(THRESHOLD,) * 2, off_threshold=(THRESHOLD,) * 2, mismatch=MISMATCH,
    noise=(NOISE, NOISE), samples_per_bin=20,
)  # fmt: skip
NUM_PHOTOS, NUM_RECORDINGS = 6, 20  # of each photo in a set
NUM_SETS = 8
ALLOWED = 2.0  # times the largest distance between halves of the simulator's sets; its own further sets: up to 1.8
MOST = 40  # events of a pixel that are told apart

Counts = NDArray[np.float32]
Facts = dict[str, NDArray[Any]]


def simulated(shown: torch.Tensor, num_recordings: int, config: SimulationConfig, seed: int = 0) -> Counts:
    """Counts (P, R, T, 2, S, S) of R recordings of each of P photos."""
    counts = np.zeros((len(shown), num_recordings, NUM_BINS, 2, SIZE, SIZE), np.float32)
    for number, (photo, recording) in enumerate(np.ndindex(*counts.shape[:2])):
        image = (255 * shown[photo, 0]).round().byte().numpy()
        events = simulate_image(image, config.model_copy(update={"seed": seed + number}), "photo")
        time_bin = events.t * NUM_BINS // (NUM_SACCADES * config.saccade_us)
        np.add.at(counts[photo, recording], (time_bin, events.p, events.y, events.x), 1)
    return counts


def drawn(shown: torch.Tensor, num_recordings: int, config: SaccadeConfig) -> Counts:
    """As `simulated`."""
    repeated = shown.repeat_interleave(num_recordings, 0)
    counts = Camera(config, NUM_BINS, SIZE).record(repeated, torch.Generator().manual_seed(0))
    found: Counts = counts.view(len(shown), num_recordings, *counts.shape[1:]).numpy()
    return found


def facts_of(counts: Counts) -> Facts:
    """Of each polarity: the mean of each bin; the share of events at each place; of what a pixel counts in a bin, and
    in a recording, how often each number is, and its variance from recording to recording of a photo. Of both together:
    events, and their variance."""
    places = np.moveaxis(counts.mean((1, 2)), 1, 0).reshape(2, -1)
    facts: Facts = {"bins": counts.mean((0, 1)).sum((2, 3)).T, "places": places / places.sum(1, keepdims=True)}
    for of, pixels in (("of bins", counts), ("of recordings", counts.sum(2, keepdims=True))):
        by_polarity = np.moveaxis(pixels, 3, 0)
        numbers = by_polarity.reshape(2, -1).clip(max=MOST).astype(np.int64)
        facts[f"numbers {of}"] = np.stack([np.bincount(each, minlength=MOST + 1) for each in numbers]) / numbers[0].size
        facts[f"variance {of}"] = by_polarity.var(2, ddof=1).mean((1, 2, 3, 4))
    totals = counts.sum((2, 3, 4, 5))
    return facts | {"events": totals.mean(), "variance of events": totals.var(1, ddof=1).mean()}


def pooled(sets: Sequence[Facts]) -> Facts:
    """Those of all sets together, and E[n^2] / E[n]."""
    facts = {name: np.mean([of[name] for of in sets], axis=0) for name in sets[0]}
    number = np.arange(MOST + 1)
    for of in ("of bins", "of recordings"):
        shares = facts[f"numbers {of}"]
        facts[f"E[n^2] / E[n] {of}"] = shares @ number**2 / (shares @ number)
    return facts


def distances(first: Facts, second: Facts) -> dict[str, float]:
    """Of shares the total variation, half their summed differences; else the relative difference; the largest."""
    found = {}
    for name, one in first.items():
        apart, is_shares = abs(one - second[name]), name.startswith(("numbers", "places"))
        found[name] = float((apart.sum(1) / 2 if is_shares else apart / second[name]).max())
    return found


@pytest.fixture(scope="module")
def simulator() -> tuple[Facts, dict[str, float]]:
    """Facts of the simulator's recordings, and how far one half of them is from the other at most: of 35 ways to halve
    eight sets, each of the same photos and other seeds."""
    shown, size = photos(NUM_PHOTOS, PHOTO_SIZE), NUM_PHOTOS * NUM_RECORDINGS
    sets = [facts_of(simulated(shown, NUM_RECORDINGS, SIMULATED, number * size)) for number in range(NUM_SETS)]
    apart = []
    for half in combinations(range(1, NUM_SETS), NUM_SETS // 2):  # never the first: each way once
        other = set(range(NUM_SETS)) - set(half)
        apart.append(distances(pooled([sets[one] for one in half]), pooled([sets[one] for one in other])))
    return pooled(sets), {name: max(of[name] for of in apart) for name in apart[0]}


def too_far(config: SaccadeConfig, simulator: tuple[Facts, dict[str, float]]) -> dict[str, float]:
    """In what as many drawn frames as half of the simulator's recordings are not like those: distance over the largest
    distance of halves."""
    facts, between = simulator
    counts = drawn(photos(NUM_PHOTOS, PHOTO_SIZE), NUM_RECORDINGS * NUM_SETS // 2, config)
    sets = [facts_of(part) for part in np.split(counts, NUM_SETS // 2, axis=1)]
    found = {name: of / between[name] for name, of in distances(pooled(sets), facts).items()}
    return {name: ratio for name, ratio in found.items() if ratio > ALLOWED}


def test_frames_without_jitter_are_those_of_the_simulator_in_distribution(simulator):
    """Apart by no more than recordings of the simulator can be: numbers of events of a pixel, and how these vary."""
    assert too_far(DRAWN, simulator) == {}


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({"mismatch": 0.0}, {"numbers of bins", "numbers of recordings", "variance of recordings"}),
        ({"noise": (0.0, 0.0)}, {"numbers of bins", "E[n^2] / E[n] of bins", "variance of bins", "events"}),
        ({"start_spread": 0.0}, {"numbers of bins", "variance of bins", "bins"}),
        ({"on_threshold": (0.9 * THRESHOLD, 1.1 * THRESHOLD)}, {"variance of bins", "variance of events"}),
        ({"amplitude": (1.1 * AMPLITUDE_PX / SIZE,) * 2}, {"places", "bins"}),
        ({"off_threshold": (1.02 * THRESHOLD,) * 2}, {"numbers of bins", "E[n^2] / E[n] of bins"}),
    ],
)  # fmt: skip
def test_what_is_left_out_is_seen(changes, least, simulator):
    """So much can this yardstick tell: without one thing, or with a threshold 2 % higher, frames are too far away."""
    assert least <= too_far(DRAWN.model_copy(update=changes), simulator).keys()


def test_means_and_places_are_the_simulator_s_with_thresholds_of_two_kinds():
    """Mean count of each bin and polarity over many photos, and where they lie."""
    shown = photos(150, PHOTO_SIZE)
    camera = SIMULATED.model_copy(update={"on_threshold": 0.5, "off_threshold": 0.4, "threshold_sigma": 0.02})
    alike = {"on_threshold": (0.5, 0.5), "off_threshold": (0.4, 0.4), "mismatch": 0.045}
    expected = simulated(shown, 1, camera).mean((0, 1))
    found = drawn(shown, 1, DRAWN.model_copy(update=alike)).mean((0, 1))
    per_bin, expected_per_bin = found.sum((2, 3)), expected.sum((2, 3))
    assert expected_per_bin.min() > 5
    assert np.allclose(per_bin, expected_per_bin, rtol=0.02, atol=1.5), (per_bin.round(1), expected_per_bin.round(1))
    for of_drawn, of_simulated in zip(found.reshape(-1, SIZE**2), expected.reshape(-1, SIZE**2), strict=True):
        assert np.corrcoef(of_drawn, of_simulated)[0, 1] > 0.9
