"""Drawings before the camera: against loops in NumPy that draw the strokes with many points a pixel."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.frames.strokes import NUM_DOTS, encode_strokes
from dvs_transfer.stages.saccades import strokes
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.saccades.pixels import Camera
from dvs_transfer.stages.saccades.strokes import inked

NUM_BINS, SIZE = 6, 20
NEVER = math.inf

# Every drawing meets the same camera, which has neither noise nor mismatch.
FIXED = SaccadeConfig(
    motion="strokes", ink=(1, 1), pen=(0.1, 0.1), start=(0, 0), speed=(1, 1), scale=(1, 1), shift=0,
    rotation_degrees=0, black_level=(0.05, 0.05), on_threshold=(0.31, 0.31), off_threshold=(0.43, 0.43), mismatch=0,
    start_spread=0, noise=(0, 0),
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(**changes) -> SaccadeConfig:
    return FIXED.model_copy(update=changes)


def arc(start: float, end: float, begin_ms: float, end_ms: float, radius: float = 0.3) -> np.ndarray:
    """A part of a circle around the middle, angles in turns, in 40 points."""
    angle = 2 * np.pi * np.linspace(start, end, 40)
    return np.stack([0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle), np.linspace(begin_ms, end_ms, 40)], 1)


# Two arcs with a pause, a line through them both, and a dot.
DRAWING = (
    arc(0.0, 0.4, 0, 900),
    arc(0.5, 0.8, 1500, 2200, 0.35),
    np.array([[0.15, 0.2, 2600], [0.85, 0.75, 3400]]),
    np.array([[0.5, 0.5, 4000]]),
)
PLAIN = (np.array([[0.2, 0.525, 0], [0.8, 0.525, 1000]]),)  # along the middle of row 10


def encoded(*drawings) -> torch.Tensor:
    return torch.from_numpy(np.stack([encode_strokes(drawing, "test") for drawing in drawings]))


def photographed(drawing, time: float, lasts: float, pen: float, fine: int = 12) -> np.ndarray:
    """Share of each pixel (S, S) that ink covers at `time`: 12 x 12 points a pixel, a disc for every 0.05 pixels.

    Strokes themselves, not their dots. A place is inked from when the pen comes to it until `lasts` after it goes on.
    """
    points = np.concatenate(drawing)
    first, last = points[0, 2], points[-1, 2]
    grid = (np.arange(SIZE * fine) + 0.5) / fine
    ink = np.zeros((SIZE * fine, SIZE * fine), bool)

    def press(x: float, y: float, comes: float, goes: float) -> None:
        if comes <= time < goes + lasts and time > 0:
            ink[(grid[:, None] - y) ** 2 + (grid[None, :] - x) ** 2 <= (pen * SIZE / 2) ** 2] = True

    for stroke in drawing:
        for a, b in pairwise(stroke):
            count = max(1, int(np.ceil(np.hypot(*(b - a)[:2]) * SIZE / 0.05)))
            for step in range(count):
                x, y, t = a + (b - a) * step / count
                goes = t + (b[2] - a[2]) / count
                press(x * SIZE, y * SIZE, (t - first) / (last - first), (goes - first) / (last - first))
        x, y, t = stroke[-1]
        press(x * SIZE, y * SIZE, (t - first) / (last - first), (t - first) / (last - first))
    return ink.reshape(SIZE, fine, SIZE, fine).mean((1, 3))


def fired(levels: np.ndarray, config: SaccadeConfig, samples_per_bin: int) -> np.ndarray:
    """Counts (T, 2, S, S) of luminances (n + 1, S, S), pixel by pixel and threshold by threshold."""
    counts = np.zeros((NUM_BINS, 2, SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            reference = math.log(levels[0, row, column])
            for sample, level in enumerate(np.log(levels[1:, row, column])):
                while level >= reference + config.on_threshold[0]:
                    reference += config.on_threshold[0]
                    counts[sample // samples_per_bin, 1, row, column] += 1
                while level <= reference - config.off_threshold[0]:
                    reference -= config.off_threshold[0]
                    counts[sample // samples_per_bin, 0, row, column] += 1
    return counts


@pytest.mark.parametrize(("lasts", "error", "more"), [(NEVER, 0.11, 0.06), (0.1, 0.16, 0.14)])
def test_ink_is_that_of_a_drawing_in_the_making(lasts, error, more):
    times = np.array([0.0, 0.1, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0])
    dots = encoded(DRAWING) * torch.tensor([SIZE, SIZE, 1, 1])
    radius = torch.tensor([[0.1 * SIZE / 2]])
    found = inked(dots, torch.tensor(times, dtype=torch.float32)[None], torch.tensor([[lasts]]), radius, SIZE)[0]
    assert found[0].sum() == 0  # blank paper
    for time, covered in zip(times[1:], found[1:].numpy(), strict=True):
        expected = photographed(DRAWING, time, lasts, 0.1)
        assert expected.sum() > 2
        assert abs(covered - expected).sum() < error * expected.sum(), time
        assert abs(covered.sum() / expected.sum() - 1) < more, time


def test_a_straight_line_covers_pixels_exactly():
    dots = encoded(PLAIN) * torch.tensor([SIZE, SIZE, 1, 1])
    for pen, shares in ((0.1, [0.5, 1, 0.5]), (0.03, [0, 0.6, 0])):
        found = inked(dots, torch.ones(1, 1), torch.tensor([[NEVER]]), torch.tensor([[pen * SIZE / 2]]), SIZE)[0, 0]
        torch.testing.assert_close(found[9:12, 6:14], torch.tensor(shares)[:, None].expand(-1, 8), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("ink", "inverted"), [(1.0, False), (0.15, False), (0.15, True)])
def test_counts_are_those_of_loops_over_pixels(ink, inverted):
    config = changed(ink=(ink, ink), inverted=inverted)
    camera = Camera(config, NUM_BINS, SIZE)
    found = camera.record(encoded(DRAWING, PLAIN), generator()).numpy()
    count = NUM_BINS * camera.samples_per_bin
    for drawing, counts in zip((DRAWING, PLAIN), found, strict=True):
        shares = [photographed(drawing, i / count, NEVER if ink >= 1 else ink, 0.1, 6) for i in range(count + 1)]
        shown = np.array(shares) if inverted else 1 - np.array(shares)
        expected = fired(0.05 + 0.95 * shown, config, camera.samples_per_bin)
        assert expected.sum() > 100
        # As measured on Omniglot's drawings: the shares of pixels are not exact, and a count is of whole thresholds.
        assert abs(counts.sum() / expected.sum() - 1) < 0.12
        for polarity in (0, 1):
            assert abs(counts[:, polarity].sum() - expected[:, polarity].sum()) < 0.15 * expected.sum()
        assert np.corrcoef(counts.ravel(), expected.ravel())[0, 1] > 0.93


def test_the_pixel_model_is_that_of_loops():
    """The same levels, so the same counts: what is not exact is the share of a pixel alone."""
    config = changed(ink=(0.2, 0.2))
    camera = Camera(config, NUM_BINS, SIZE)
    count = NUM_BINS * camera.samples_per_bin
    times = torch.arange(count + 1)[None] / count
    dots = encoded(DRAWING)
    shares = inked(
        dots * torch.tensor([SIZE, SIZE, 1, 1]), times, torch.tensor([[0.2]]), torch.tensor([[0.05 * SIZE]]), SIZE
    )
    expected = fired(0.05 + 0.95 * (1 - shares[0].double().numpy()), config, camera.samples_per_bin)
    counts = camera.record(dots, generator())[0].numpy()
    assert expected.sum() > 300
    assert abs(counts - expected).sum() <= 0.005 * expected.sum()  # float32 beside float64, at a threshold


@pytest.mark.parametrize("black", [1e-3, 1e-6, 1e-9])
def test_ink_may_be_as_black_as_one_likes(black):
    """A pixel that is covered whole falls by log(black), and fires so many thresholds of it."""
    config = changed(black_level=(black, black))
    counts = Camera(config, NUM_BINS, SIZE).record(encoded(PLAIN), generator())[0]
    assert counts[:, 0, 10, 8:12].sum(0).tolist() == [math.floor(-math.log(black) / 0.43)] * 4


def test_polarities_places_and_order():
    """Ink that stays only darkens, from left to right; ink that vanishes brightens the same pixels, later."""
    stays, vanishes = (
        Camera(changed(ink=(ink, ink)), NUM_BINS, SIZE).record(encoded(PLAIN), generator())[0] for ink in (1.0, 0.1)
    )
    negative = Camera(changed(inverted=True), NUM_BINS, SIZE).record(encoded(PLAIN), generator())[0]
    assert stays[:, 1].sum() == 0
    assert negative[:, 0].sum() == 0
    assert vanishes[:, 0].sum() == stays[:, 0].sum()
    columns = torch.arange(SIZE) + 0.5
    middles = [float((of.sum(0) * columns).sum() / of.sum()) for of in stays[:, 0]]
    np.testing.assert_allclose(middles, 4 + 12 * (np.arange(NUM_BINS) + 0.5) / NUM_BINS, atol=1.0)  # radius: 1
    assert set(np.nonzero(stays[:, 0].sum((0, 2)).numpy())[0]) == {9, 10, 11}
    bins = torch.arange(NUM_BINS) + 0.5
    seen = vanishes.sum((2, 3))
    off, on = (float((of * bins).sum() / of.sum()) for of in seen.T)
    assert 0.2 < on - off < 1.5  # the pen passes in 0.17, ink stays for 0.1: of 6 bins


def test_the_whole_drawing_is_the_same_however_it_moves():
    """Turned, smaller, moved, mirrored: pixels of the frame see ink where the drawing's places are brought."""
    dots = encoded(DRAWING)
    plain = Camera(FIXED, NUM_BINS, SIZE).record(dots, generator())[0].sum((0, 1))
    mirrored = Camera(changed(mirrored=1.0), NUM_BINS, SIZE).record(dots, generator())[0].sum((0, 1))
    torch.testing.assert_close(mirrored, plain.flip(1), atol=1.01, rtol=0)
    small = Camera(changed(scale=(0.5, 0.5)), NUM_BINS, 2 * SIZE).record(dots, generator())[0].sum((0, 1))
    torch.testing.assert_close(small[SIZE // 2 : -SIZE // 2, SIZE // 2 : -SIZE // 2], plain, atol=1.01, rtol=0)
    assert small.sum() == pytest.approx(float(plain.sum()), rel=0.02)

    draws = torch.Generator()
    config = changed(rotation_degrees=180, shift=0.2)
    found = Camera(config, NUM_BINS, SIZE).record(dots.expand(40, -1, -1), draws)
    assert (found[1:] != found[:1]).flatten(1).any(1).all()
    totals = found.sum((1, 2, 3, 4))
    assert totals.std() < 0.12 * totals.mean()  # no ink is lost within the frame


def test_rotation_turns_as_the_other_motions_do(monkeypatch):
    """A quarter turn: what is seen of an image, and of its strokes, lies at the same places."""
    from dvs_transfer.stages.saccades import pixels

    monkeypatch.setattr(pixels._Draws, "around", lambda draws, largest, *shape: torch.full((1, *shape), largest))
    bar = (np.array([[0.3, 0.2, 0], [0.3, 0.6, 1000]]),)
    config = changed(rotation_degrees=90, shift=0.1)
    drawn = Camera(config, NUM_BINS, SIZE).record(encoded(bar), generator())[0].sum((0, 1))
    ink = torch.from_numpy(photographed(bar, 1.0, NEVER, 0.1)).float()
    camera = Camera(config.model_copy(update={"motion": "drift", "amplitude": (1e-6, 1e-6)}), NUM_BINS, SIZE)
    path = torch.full((1, 1, 2), 0.1)
    seen = camera._seen(ink[None, None], path, pixels._Draws(1, torch.device("cpu"), generator()))[0, 0]
    rows, columns = (torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5)
    for of in (drawn, seen):
        of /= of.sum()
    for axis, at in ((1, rows), (0, columns)):
        assert float((drawn.sum(axis) * at).sum()) == pytest.approx(float((seen.sum(axis) * at).sum()), abs=0.2)


def test_times_follow_speed_and_start():
    def ends(**changes) -> tuple[int, int]:
        per_bin = Camera(changed(**changes), 20, SIZE).record(encoded(PLAIN), generator())[0].sum((1, 2, 3))
        there = np.flatnonzero(per_bin.numpy())
        return int(there[0]), int(there[-1])

    assert ends() == (0, 19)
    assert ends(speed=(2.0, 2.0))[1] in (9, 10)
    assert ends(start=(-0.5, -0.5))[0] in (9, 10)
    late = Camera(changed(start=(0.5, 0.5)), 20, SIZE).record(encoded(PLAIN), generator())[0]
    assert late[:, 0].sum((0, 1))[:9].sum() == 0  # what was drawn before is no event
    gone = Camera(changed(ink=(0.1, 0.1), speed=(2.0, 2.0)), 20, SIZE).record(encoded(PLAIN), generator())[0]
    off, on = gone.sum((0, 2, 3)).tolist()
    assert on == pytest.approx(off * 0.43 / 0.31, rel=0.15)  # all of it vanished before the end


def test_ink_is_looked_at_twice_while_it_stays():
    assert Camera(changed(ink=(0.2, 0.3)), 10, SIZE).samples_per_bin == 3
    assert Camera(changed(ink=(0.02, 0.3)), 10, SIZE).samples_per_bin == 10
    assert Camera(changed(ink=(0.02, 0.3), speed=(1, 1.5)), 10, SIZE).samples_per_bin == 15
    assert Camera(changed(ink=(2, 3)), 1, SIZE).samples_per_bin == 3
    with pytest.raises(
        TrainingError, match=r"ink = \[0\.001, 0\.3\].*needs 200 moments.*let it stay for 0\.002 or more"
    ):
        Camera(changed(ink=(0.001, 0.3)), 10, SIZE).check()


def test_dots_that_are_not_drawn_are_never_seen():
    dots = encoded(PLAIN)
    padded = dots.clone()
    padded[:, 60:] = torch.tensor([0.0, 0.0, NEVER, NEVER])
    found = inked(padded * torch.tensor([SIZE, SIZE, 1, 1]), torch.full((1, 1), 3.0), torch.tensor([[NEVER]]),
                  torch.ones(1, 1), SIZE)  # fmt: skip
    assert found[0, 0, 0, 0] == 0
    assert found.isfinite().all()
    assert (
        0
        < found.sum()
        < 0.6
        * inked(
            dots * torch.tensor([SIZE, SIZE, 1, 1]),
            torch.full((1, 1), 3.0),
            torch.tensor([[NEVER]]),
            torch.ones(1, 1),
            SIZE,
        ).sum()
    )
    blank = torch.zeros(3, NUM_DOTS, 4)  # a quarantined drawing, which no pool has, does not stop a batch
    assert Camera(FIXED, NUM_BINS, SIZE).record(blank, generator()).isfinite().all()


@pytest.mark.parametrize("at_once", [2, 8])
def test_drawings_do_not_depend_on_how_many_are_drawn_at_once(at_once, monkeypatch):
    dots = encoded(DRAWING, PLAIN, DRAWING)
    config = changed(ink=(0.1, 1))
    one_by_one = Camera(config, NUM_BINS, SIZE).record(dots, generator())
    monkeypatch.setitem(strokes._NUMBERS_AT_ONCE, "cpu", at_once * NUM_DOTS * SIZE**2)
    assert torch.equal(Camera(config, NUM_BINS, SIZE).record(dots, generator()), one_by_one)


def test_the_new_settings_leave_old_documents_as_they_were():
    assert not {"ink", "pen"} & SaccadeConfig().model_dump().keys()
    assert changed(pen=(0.2, 0.3)).model_dump()["pen"] == (0.2, 0.3)
    with pytest.raises(ValidationError, match="ink"):
        SaccadeConfig(ink=(0, 0.1))
