from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.stages.training.augmentation import AugmentationConfig, augment, crop, rotate


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
