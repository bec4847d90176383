from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.training.augmentation import (
    AugmentationConfig,
    augment,
    crop,
    event_drop,
    nda,
    rotate,
    shift_time,
    thin,
)

ROLL, ROTATION, SHEAR, CUTOUT = 0.1, 0.3, 0.6, 0.9  # draws of what NDA does
IDENTITY, BY_TIME, BY_AREA, AT_RANDOM = 0.1, 0.3, 0.6, 0.9  # draws of what EventDrop does
LARGEST = float(np.nextafter(np.float32(1), np.float32(0)))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def counts(*shape, seed=0, largest=5):
    """Whole counts above 0, float32."""
    return torch.from_numpy(np.random.default_rng(seed).integers(1, largest + 1, shape).astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 9), padding=st.integers(0, 3), seed=st.integers(0, 1000))
def test_crop_equals_pad_and_slice(size, padding, seed):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 9, (3, 2, 2, size, size)).astype(np.float32)
    offsets = rng.integers(0, 2 * padding + 1, (3, 2))
    found = crop(torch.from_numpy(frames), torch.from_numpy(offsets), padding)
    for clip, (row, column), cut in zip(frames, offsets, found, strict=True):
        padded = np.pad(clip, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        assert np.array_equal(cut, padded[..., row : row + size, column : column + size])


def test_augment_draws_every_shift_and_treats_all_frames_of_a_recording_alike():
    frames = torch.zeros(500, 2, 2, 24, 24)
    frames[..., 12, 12] = 1
    shifted = augment(frames, torch.rand(500, 4), AugmentationConfig())
    assert torch.equal(shifted, shifted[:, :1, :1].expand_as(shifted))
    rows, columns = (
        shifted[:, 0, 0].flatten(1).argmax(1).div(24, rounding_mode="floor"),
        shifted[:, 0, 0].sum(1).argmax(1),
    )
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [10, 11, 12, 13, 14]


def test_largest_draw_stays_inside():
    frames = torch.ones(1, 1, 2, 48, 48)
    draws = torch.full((1, 4), np.nextafter(np.float32(1), np.float32(0)))
    assert augment(frames, draws, AugmentationConfig()).sum() == 2 * 44 * 44


def test_flip_mirrors_recordings_with_a_small_draw():
    frames = torch.rand(2, 3, 2, 6, 6)
    config = AugmentationConfig(crop=False, flip=True)
    flipped = augment(frames, torch.tensor([[0, 0, 0.49, 0], [0, 0, 0.5, 0]]), config)
    assert torch.equal(flipped[0], frames[0].flip(-1))
    assert torch.equal(flipped[1], frames[1])


@pytest.mark.parametrize("quarter_turns", range(4))
def test_rotate_by_quarter_turns(quarter_turns):
    frames = torch.rand(1, 2, 2, 7, 7)
    rotated = rotate(frames, torch.tensor([quarter_turns * math.pi / 2]))
    assert torch.equal(rotated, torch.rot90(frames, quarter_turns, (-2, -1)))


def test_rotation_draw_spans_both_directions():
    frames = torch.rand(3, 2, 2, 9, 9)
    config = AugmentationConfig(crop=False, rotation_degrees=90)
    draws = torch.tensor([[0, 0, 0, 0.0], [0, 0, 0, 0.5], [0, 0, 0, 1.0]])
    rotated = augment(frames, draws, config)
    for clip, turned, turns in zip(frames, rotated, (-1, 0, 1), strict=True):
        assert torch.equal(turned, torch.rot90(clip, turns, (-2, -1)))


def test_no_augmentation_changes_nothing():
    frames = torch.rand(2, 3, 2, 6, 6)
    assert torch.equal(augment(frames, torch.rand(2, 4), AugmentationConfig(crop=False)), frames)


def test_identity_of_a_configuration_stays_while_what_came_later_is_off():
    assert AugmentationConfig().model_dump() == {"crop": True, "flip": False, "rotation_degrees": 0.0}
    config = AugmentationConfig(nda=2, time_shift=1)
    assert config.model_dump().keys() == {"crop", "flip", "rotation_degrees", "nda", "time_shift"}
    assert AugmentationConfig(**config.model_dump()) == config


@pytest.mark.parametrize(("size", "intensity", "reach"), [(48, 1, 3), (48, 2, 5), (34, 1, 2), (34, 2, 4)])
def test_nda_rolls_to_every_offset(size, intensity, reach):
    offsets = [(right, down) for right in range(-reach, reach + 1) for down in range(-reach, reach + 1)]
    share = (torch.tensor(offsets) + reach + 0.5) / (2 * reach + 1)
    draws = torch.cat([torch.full((len(offsets), 1), ROLL), share, torch.zeros(len(offsets), 1)], dim=1)
    frames = counts(len(offsets), 2, 2, size, size)
    for clip, rolled, (right, down) in zip(frames.numpy(), nda(frames, draws, intensity), offsets, strict=True):
        assert np.array_equal(rolled, np.roll(clip, (down, right), (-2, -1)))
    ends = torch.tensor([[ROLL, 0.0, 0.0, 0.0], [ROLL, LARGEST, LARGEST, 0.0]])
    for clip, rolled, offset in zip(frames.numpy(), nda(frames[:2], ends, intensity), (-reach, reach), strict=False):
        assert np.array_equal(rolled, np.roll(clip, (offset, offset), (-2, -1)))


@pytest.mark.parametrize("kind", [ROTATION, SHEAR])
@pytest.mark.parametrize(("size", "intensity"), [(34, 1), (48, 2)])
def test_nda_rotates_and_shears(kind, size, intensity):
    """Pixel by pixel in float64, from the definition. Where two source pixels are as near, either will do."""
    shares = np.array([0.0, 0.2, 0.5, 0.7, LARGEST])
    draws = torch.tensor([[kind, share, 0.9, 0.1] for share in shares], dtype=torch.float32)
    frames = counts(len(shares), 1, 2, size, size, largest=200)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    for clip, found, share in zip(frames.numpy(), nda(frames, draws, intensity).numpy(), shares, strict=True):
        angle = np.radians(15 * intensity * (2 * share - 1))
        if kind == ROTATION:
            from_row = rows * np.cos(angle) + columns * np.sin(angle)
            from_column = columns * np.cos(angle) - rows * np.sin(angle)
        else:
            from_row, from_column = rows, columns + np.tan(angle) * rows
        source = np.stack([from_row, from_column]) + (size - 1) / 2
        nearest = np.rint(source).astype(int)
        inside = ((nearest >= 0) & (nearest < size)).all(0)
        expected = np.where(inside, clip[..., *nearest.clip(0, size - 1)], 0)
        certain = (np.abs(source - np.floor(source) - 0.5) > 1e-3).all(0)
        assert certain.mean() > 0.9
        assert np.array_equal(found[..., certain], expected[..., certain])
        assert np.array_equal(found, clip) == (share == 0.5)


@pytest.mark.parametrize(("size", "intensity", "largest"), [(48, 1, 8), (48, 2, 16), (24, 1, 4), (5, 1, 1)])
def test_nda_cuts_a_square_out(size, intensity, largest):
    rng = np.random.default_rng(0)
    draws = rng.random((100, 4), np.float32)
    draws[:, 0] = CUTOUT
    frames = counts(100, 2, 2, size, size)
    for clip, found, (_, share, row, column) in zip(
        frames.numpy(), nda(frames, torch.from_numpy(draws), intensity), draws.astype(float), strict=True
    ):
        side = 1 + share * (largest - 1)
        expected = clip.copy()
        for i in range(size):
            for j in range(size):
                if -side / 2 <= i + 0.5 - row * size < side / 2 and -side / 2 <= j + 0.5 - column * size < side / 2:
                    expected[..., i, j] = 0
        assert np.array_equal(found, expected)


def test_nda_changes_recordings_in_each_way_equally_often():
    """Each way leaves a mark of its own on a frame of ones, but for a roll, which leaves the sum per axis."""
    frames = torch.ones(4000, 1, 2, 48, 48)
    changed = augment(frames, torch.zeros(4000, 4), AugmentationConfig(crop=False, nda=2), seeded())[:, 0, 0]
    corner, middle_row = changed[:, 0, 0] == 0, (changed[:, 24] == 0).any(1)
    rolled = (changed == 1).flatten(1).all(1)
    rows_keep_their_place = (changed[:, :, 24] == 1).all(1)
    sheared = ~rolled & rows_keep_their_place & ~middle_row & (changed[:, 0, 0] != changed[:, 0, -1])
    assert rolled.float().mean() == pytest.approx(0.25, abs=0.03)
    assert sheared.float().mean() == pytest.approx(0.25, abs=0.03)
    rotated = ~rolled & ~sheared & corner & (changed[:, -1, -1] == 0)
    assert rotated.float().mean() == pytest.approx(0.25, abs=0.03)


def test_nda_treats_all_frames_of_a_recording_alike():
    frames = counts(200, 1, 1, 24, 24).expand(-1, 3, 2, -1, -1)
    changed = augment(frames, torch.zeros(200, 4), AugmentationConfig(crop=False, nda=1), seeded())
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))
    assert set(changed.unique().tolist()) <= set(range(6))


@pytest.mark.parametrize("shift", range(-3, 4))
def test_time_shift_lets_empty_bins_enter(shift):
    frames = counts(2, 4, 2, 3, 3)
    shifted = shift_time(frames, torch.tensor([shift, 0]))
    expected = np.zeros_like(frames[0])
    for time_bin in range(4):
        if 0 <= time_bin - shift < 4:
            expected[time_bin] = frames[0, time_bin - shift]
    assert np.array_equal(shifted[0], expected)
    assert torch.equal(shifted[1], frames[1])


def test_time_shifts_are_equally_likely():
    frames = torch.zeros(5000, 5, 2, 1, 1)
    frames[:, 2] = 1
    shifted = augment(frames, torch.zeros(5000, 4), AugmentationConfig(crop=False, time_shift=2), seeded())
    assert torch.equal(shifted.sum((1, 2, 3, 4)), torch.full((5000,), 2.0))
    assert shifted.mean((0, 2, 3, 4)).tolist() == pytest.approx([0.2] * 5, abs=0.02)


def test_a_time_shift_that_leaves_nothing_is_refused():
    config = AugmentationConfig(crop=False, time_shift=3)
    with pytest.raises(TrainingError, match=r"time_shift = 3: expected less than .* time bins, 3"):
        augment(torch.zeros(1, 3, 2, 4, 4), torch.zeros(1, 4), config, seeded())


def test_polarity_flip_swaps_on_and_off_with_its_probability():
    frames = counts(4000, 1, 2, 2, 2, largest=1000)
    changed = augment(frames, torch.zeros(4000, 4), AugmentationConfig(crop=False, polarity_flip=0.3), seeded())
    same = (changed == frames).flatten(1).all(1)
    assert torch.equal(changed[~same], frames[~same][:, :, [1, 0]])
    assert 1 - same.float().mean() == pytest.approx(0.3, abs=0.03)


def test_event_drop_by_time():
    rng = np.random.default_rng(1)
    draws = rng.random((200, 4), np.float32)
    draws[:, 0] = BY_TIME
    frames = counts(200, 7, 2, 4, 4)
    dropped = event_drop(frames, torch.from_numpy(draws), seeded()).numpy()
    for clip, found, (_, share, start, _) in zip(frames.numpy(), dropped, draws.astype(float), strict=True):
        ratio = (1 + int(9 * share)) / 10
        expected = clip.copy()
        for time_bin in range(7):
            if start <= (time_bin + 0.5) / 7 < start + ratio:
                expected[time_bin] = 0
        assert np.array_equal(found, expected if expected.any() else clip)


def test_event_drop_by_area():
    rng = np.random.default_rng(2)
    draws = rng.random((200, 4), np.float32)
    draws[:, 0] = BY_AREA
    size = 34
    frames = counts(200, 2, 2, size, size)
    dropped = event_drop(frames, torch.from_numpy(draws), seeded()).numpy()
    for clip, found, (_, share, row, column) in zip(frames.numpy(), dropped, draws.astype(float), strict=True):
        side = size * (1 + int(5 * share)) / 20
        top, left = (max(0.0, size * place - side / 2) for place in (row, column))
        expected = clip.copy()
        # The first cell whose centre is at or after an edge.
        expected[..., *(slice(*np.ceil([edge - 0.5, edge + side - 0.5]).astype(int)) for edge in (top, left))] = 0
        assert np.array_equal(found, expected)
        assert 1 <= (found[0, 0] == 0).sum() <= 9 * 9


def test_event_drop_is_drawn_as_published():
    """Shares of the four choices and of what each drops, on bins and pixels that all have 60 events."""
    frames = torch.full((6000, 10, 2, 20, 20), 60.0)
    changed = augment(frames, torch.zeros(6000, 4), AugmentationConfig(crop=False, event_drop=True), seeded())
    bins, pixels = changed[:, :, 0, 0, 0], changed[:, 0, 0]
    thinned = ((changed > 0) & (changed < 60)).flatten(1).any(1)
    by_time = (
        ~thinned
        & ((changed == 60) | (changed == 0)).flatten(2).all(2).all(1)
        & (changed.flatten(2).amax(2) == changed.flatten(2).amin(2)).all(1)
    )
    by_time &= (bins == 0).any(1)
    by_area = ~thinned & (pixels == 0).flatten(1).any(1) & (pixels == 60).flatten(1).any(1)
    assert thinned.float().mean() == pytest.approx(0.25, abs=0.02)
    assert by_area.float().mean() == pytest.approx(0.25, abs=0.02)
    # From the middle of the last bin on, nothing of the recording is left to drop.
    assert by_time.float().mean() == pytest.approx(0.25 * 0.95, abs=0.02)

    kept = changed[thinned].mean((1, 2, 3, 4)) / 60
    tenths, frequency = (10 * kept).round().unique(return_counts=True)
    assert tenths.tolist() == list(range(1, 10))
    assert (frequency / len(kept)).tolist() == pytest.approx([1 / 9] * 9, abs=0.025)

    # The moment is uniform: a bin at x is dropped where the moment lies in (x - ratio, x].
    centres, ratios = np.meshgrid(np.arange(10) / 10 + 0.05, np.arange(1, 10) / 10)
    expected = np.minimum(centres, ratios).mean(0)
    assert (bins[by_time] == 0).float().mean(0).tolist() == pytest.approx((expected / 0.95).tolist(), abs=0.04)

    sides = (pixels[by_area] == 0).flatten(1).sum(1).float().sqrt().round()
    assert sides.max() == 5
    assert sides.min() == 1


def test_a_recording_that_would_lose_all_its_events_keeps_them():
    frames = torch.zeros(4, 10, 2, 10, 10)
    frames[:3, 2, 1, 4, 4] = 3
    draws = torch.tensor(
        [[BY_TIME, 0.99, 0.0, 0.0], [BY_AREA, 0.99, 0.45, 0.45], [IDENTITY, 0, 0, 0], [BY_TIME, 0, 0, 0]]
    )
    assert torch.equal(event_drop(frames, draws, seeded()), frames)
    frames[:, 9] = 1  # something is left
    assert event_drop(frames, draws, seeded())[:2, 2].sum() == 0


def test_thinning_is_binomial_and_leaves_whole_counts():
    frames = torch.full((3, 10, 2, 40, 40), 20.0)
    found = thin(frames, torch.tensor([0.3, 0.9, 1.0]), seeded())
    assert torch.equal(found, found.round())
    assert found.max() <= 20
    for recording, probability in ((0, 0.3), (1, 0.9)):
        assert found[recording].mean() == pytest.approx(20 * probability, rel=0.01)
        assert found[recording].var() == pytest.approx(20 * probability * (1 - probability), rel=0.03)
    assert torch.equal(found[2], frames[2])


def test_thinning_of_resized_counts_keeps_their_mean():
    frames = torch.full((1, 10, 2, 40, 40), 1.5)
    found = thin(frames, torch.tensor([0.4]), seeded())
    assert found.unique().tolist() == [0.0, 0.75, 1.5]
    assert found.mean() == pytest.approx(0.6, rel=0.02)


def test_one_augmentation_does_not_shift_the_draws_of_another():
    frames = counts(50, 4, 2, 16, 16)
    alone = augment(frames, torch.zeros(50, 4), AugmentationConfig(crop=False, nda=1), seeded())
    config = AugmentationConfig(crop=False, nda=1, polarity_flip=1)
    assert torch.equal(augment(frames, torch.zeros(50, 4), config, seeded()), alone.flip(2))
    assert not torch.equal(augment(frames, torch.zeros(50, 4), config, seeded(1)), alone.flip(2))
