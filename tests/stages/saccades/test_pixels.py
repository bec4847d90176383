"""Frames that are drawn, against loops in NumPy; what each setting does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from shown_photos import photos

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.saccades.motion import MOTIONS
from dvs_transfer.stages.saccades.pixels import Camera
from dvs_transfer.stages.simulation.config import SimulationConfig
from dvs_transfer.stages.simulation.sensor import saccade_path

NUM_BINS, SIZE = 5, 20

# Every photo meets the same camera, which has neither noise nor mismatch. No few thresholds of one kind are some of the
# other: where a level returns, rounding would decide.
FIXED = SaccadeConfig(
    amplitude=(0.2, 0.2), direction_degrees=0, start=(0, 0), speed=(1, 1), scale=(1, 1), shift=0, rotation_degrees=0,
    gamma=(2.2, 2.2), black_level=(0.05, 0.05), on_threshold=(0.31, 0.31), off_threshold=(0.43, 0.43), mismatch=0,
    start_spread=0, noise=(0, 0),
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(**changes) -> SaccadeConfig:
    return FIXED.model_copy(update=changes)


def looped(photo: np.ndarray, config: SaccadeConfig, positions: np.ndarray) -> np.ndarray:
    """Counts (T, 2, S, S) by loops over pixels, in float64; the photo has the frame's size."""
    amplitude, black = config.amplitude[0] * SIZE, config.black_level[0]
    log_image = np.log(black + (1 - black) * photo ** config.gamma[0])
    counts = np.zeros((NUM_BINS, 2, SIZE, SIZE))

    def level(row: float, column: float) -> float:
        row, column = (min(max(at, 0), SIZE - 1) for at in (row, column))
        r, c = min(int(row), SIZE - 2), min(int(column), SIZE - 2)
        a, b = row - r, column - c
        upper = (1 - b) * log_image[r, c] + b * log_image[r, c + 1]
        lower = (1 - b) * log_image[r + 1, c] + b * log_image[r + 1, c + 1]
        return (1 - a) * upper + a * lower

    for row in range(SIZE):
        for column in range(SIZE):
            reference = None
            for sample, (x, y) in enumerate((positions - 0.5) * amplitude):
                now = level(row - y, column - x)
                if reference is None:  # start_spread = 0: in the middle between the two thresholds
                    reference = now
                    continue
                while now >= reference + config.on_threshold[0]:
                    reference += config.on_threshold[0]
                    counts[(sample - 1) // config.samples_per_bin, 1, row, column] += 1
                while now <= reference - config.off_threshold[0]:
                    reference -= config.off_threshold[0]
                    counts[(sample - 1) // config.samples_per_bin, 0, row, column] += 1
    return counts


@pytest.mark.parametrize("motion", ["saccades", "loop"])
def test_counts_are_those_of_loops_over_pixels(motion):
    config, shown = changed(motion=motion), photos(2, SIZE)
    found = Camera(config, NUM_BINS, SIZE).record(shown, generator())
    times = torch.linspace(0, 1, NUM_BINS * config.samples_per_bin + 1)[None]
    positions = MOTIONS[motion](times, generator())[0].double().numpy()
    for photo, counts in zip(shown.double().numpy(), found.numpy(), strict=True):
        expected = looped(photo[0], config, positions)
        assert expected.sum() > 200
        assert abs(counts - expected).sum() <= 0.002 * expected.sum()  # float32 beside float64, at a threshold


def test_polarities_places_and_times():
    """A white right half on black that moves to the right darkens the pixels at the edge, then nothing happens."""

    def to_the_right(times, generator):
        return torch.stack([(2 * times).clamp(max=1), torch.full_like(times, 0.5)], -1)

    MOTIONS["to_the_right"] = to_the_right
    try:
        shown = torch.zeros(1, 1, SIZE, SIZE)
        shown[..., SIZE // 2 :] = 1
        counts = Camera(changed(motion="to_the_right"), 4, SIZE).record(shown, generator())[0]
        negative = Camera(changed(motion="to_the_right", inverted=True), 4, SIZE).record(shown, generator())[0]
    finally:
        del MOTIONS["to_the_right"]
    assert counts[:, 1].sum() == 0
    assert counts[2:].sum() == 0
    rows, columns = np.nonzero(counts[:2, 0].sum(0).numpy())
    assert set(rows) == set(range(SIZE))
    assert set(columns) == set(range(SIZE // 2 - 2, SIZE // 2 + 2))  # 4 px = 0.2 of 20, around the middle
    assert negative[:, 0].sum() == 0
    assert negative[:, 1].sum() > 0


def test_the_triangle_is_the_simulators():
    config = SimulationConfig()
    times_us, x_px, y_px = saccade_path(config)
    found = MOTIONS["saccades"](torch.tensor(times_us / times_us[-1])[None], generator())[0]
    assert torch.allclose(found, torch.tensor(np.stack([x_px, y_px], 1) / config.amplitude_px), atol=1e-6)


@pytest.mark.parametrize("motion", sorted(MOTIONS))
def test_motions_stay_within_their_amplitude(motion):
    path = MOTIONS[motion](torch.linspace(0, 1, 300).expand(20, -1), generator())
    assert path.shape == (20, 300, 2)
    assert path.min() >= 0
    assert path.max() <= 1
    assert (path.amax((1, 2)) - path.amin((1, 2))).min() > 0.3


def test_the_loop_returns_and_has_constant_speed():
    path = MOTIONS["loop"](torch.linspace(0, 1, 6 * 40 + 1)[None], generator())[0]
    assert torch.allclose(path[::40], path[:1], atol=1e-4)
    speed = path.diff(dim=0).norm(dim=1)
    assert torch.allclose(speed, speed.mean(), rtol=1e-3)


def test_drifts_are_each_photos_own():
    path = MOTIONS["drift"](torch.linspace(0, 1, 50).expand(8, -1), generator())
    assert (path[0] - path[1:]).abs().amax((1, 2)).min() > 0.05


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("amplitude", 0.1, 0.3), ("scale", 0.5, 1.5), ("gamma", 1.0, 3.0), ("black_level", 0.01, 0.3),
        ("on_threshold", 0.2, 0.6), ("off_threshold", 0.2, 0.6), ("speed", 0.5, 2.0),
    ],
)  # fmt: skip
def test_each_photo_draws_within_its_bounds(field, low, high):
    """Of one photo shown often, the counts with a range lie between those at its ends, and not all alike."""
    shown = photos(1, SIZE).expand(60, -1, -1, -1)

    def totals(bounds):
        camera = Camera(changed(**{field: bounds, "samples_per_bin": 8}), NUM_BINS, SIZE)
        return camera.record(shown, generator())[:, :, :].sum((1, 2, 3, 4))

    ends = sorted([totals((low, low)).mean(), totals((high, high)).mean()])
    within = totals((low, high))
    assert totals((low, low)).std() == 0
    assert within.std() > 0
    if field not in ("scale", "speed"):  # in which counts need not be monotonic
        assert 0.95 * ends[0] <= within.min() <= within.max() <= 1.05 * ends[1]  # whole thresholds: not quite monotonic


@pytest.mark.parametrize("field", ["direction_degrees", "start", "shift", "rotation_degrees"])
def test_jitter_changes_frames_and_its_absence_does_not(field):
    shown = photos(1, SIZE).expand(10, -1, -1, -1)
    same = Camera(FIXED, NUM_BINS, SIZE).record(shown, generator())
    jitter = {"start": (-0.1, 0.1), "shift": 0.2}.get(field, 30)
    other = Camera(changed(**{field: jitter}), NUM_BINS, SIZE).record(shown, generator())
    assert torch.equal(same, same[:1].expand_as(same))
    assert (other[1:] != other[:1]).flatten(1).any(1).all()


def test_background_events_are_a_poisson_process():
    config, dark = changed(noise=(0.5, 0.5)), torch.zeros(200, 1, SIZE, SIZE)
    counts = Camera(config, NUM_BINS, SIZE).record(dark, generator())
    totals, expected = counts.sum((1, 2, 3, 4)), 0.5 * SIZE**2
    assert abs(totals.mean() - expected) < 4 * math.sqrt(expected / 200)
    assert 0.7 < totals.var() / expected < 1.3
    places = counts.sum(0)  # each place has a mean of 10 events over the 200 photos
    assert 0.85 < places.var() / places.mean() < 1.15


def test_hot_pixels_are_few_and_fire_throughout():
    config, dark = changed(hot_pixels=2.0, hot_pixel_events=40.0), torch.zeros(300, 1, SIZE, SIZE)
    counts = Camera(config, NUM_BINS, SIZE).record(dark, generator())
    of_pixels = counts.sum((1, 2)).flatten(1)
    assert abs((of_pixels > 0).sum(1).float().mean() - 2) < 0.35
    hot = of_pixels[of_pixels > 0]
    assert abs(hot.mean() - 40) < 2
    per_bin = counts.sum((0, 3, 4))
    assert torch.allclose(per_bin / per_bin.mean(), torch.ones(()), atol=0.15)


def test_thresholds_vary_from_pixel_to_pixel():
    shown = torch.zeros(1, 1, SIZE, SIZE)
    shown[..., SIZE // 2 :] = 1
    alike = Camera(FIXED, NUM_BINS, SIZE).record(shown, generator())[0].sum((0, 1))
    apart = Camera(changed(mismatch=0.3), NUM_BINS, SIZE).record(shown, generator())[0].sum((0, 1))
    assert torch.equal(alike, alike[:1].expand_as(alike))  # of a vertical edge all rows are alike
    assert (apart != apart[:1]).any()


def test_finer_photos_make_events_that_coarse_ones_do_not():
    """A grid of lines of a fourth of a pixel is grey to a photo of the frame's size."""
    fine = torch.zeros(1, 1, 4 * SIZE, 4 * SIZE)
    fine[..., ::4] = 1
    coarse = torch.nn.functional.avg_pool2d(fine, 4)
    camera = Camera(changed(samples_per_bin=20), NUM_BINS, SIZE)
    assert camera.record(coarse, generator()).sum() == 0
    assert camera.record(fine, generator()).sum() > 1000


def test_mirrored_photos_are_seen_from_left_to_right():
    shown = photos(40, SIZE)
    plain, mirrored = (Camera(FIXED, NUM_BINS, SIZE).record(of, generator()) for of in (shown, shown.flip(-1)))
    always, half = (Camera(changed(mirrored=share), NUM_BINS, SIZE).record(shown, generator()) for share in (1.0, 0.5))
    assert torch.equal(always, mirrored)
    flipped = [bool(torch.equal(a, b)) for a, b in zip(half, mirrored, strict=True)]
    kept = [bool(torch.equal(a, b)) for a, b in zip(half, plain, strict=True)]
    assert [a != b for a, b in zip(flipped, kept, strict=True)] == [True] * 40
    assert 10 < sum(flipped) < 30


def test_the_same_generator_gives_the_same_frames():
    config = SaccadeConfig(hot_pixels=1)
    camera, shown = Camera(config, NUM_BINS, SIZE), photos(4, SIZE)
    assert torch.equal(camera.record(shown, generator(3)), camera.record(shown, generator(3)))
    assert not torch.equal(camera.record(shown, generator(3)), camera.record(shown, generator(4)))


def test_a_motion_that_is_none_is_refused(monkeypatch):
    with pytest.raises(ValidationError, match="'circle' is none of drift, loop, saccades, strokes"):
        SaccadeConfig(motion="circle")
    monkeypatch.setitem(MOTIONS, "saccades", lambda times, generator: times)
    with pytest.raises(TrainingError, match=r"expected finite positions \(B, n, 2\).*shape \(2, 3\)"):
        _ = Camera(FIXED, NUM_BINS, SIZE).motion
