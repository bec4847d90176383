"""Augmentation of event frames, batched on their device: one draw for a recording, the same for all its frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...cache.errors import TrainingError
from .config import AugmentationConfig

PUBLISHED_SIZE = 48  # pixels of the frames that the ranges of NDA were published for


def augment(
    frames: Tensor, draws: Tensor, config: AugmentationConfig, generator: torch.Generator | None = None
) -> Tensor:
    """Augmented copy of frames (B, T, 2, H, W), float32.

    Crop, flip and rotation follow from uniform draws (B, 4) in [0, 1), the others from `generator`, which they need.
    Raises TrainingError for a time shift by which a recording could leave its frames whole.
    """
    if config.crop:
        padding = frames.shape[-1] // 12
        offsets = (draws[:, :2] * (2 * padding + 1)).long().clamp_(max=2 * padding)
        frames = crop(frames, offsets, padding)
    if config.flip:
        frames = torch.where(draws[:, 2, None, None, None, None] < 0.5, frames.flip(-1), frames)
    if config.rotation_degrees > 0:
        frames = rotate(frames, torch.deg2rad((2 * draws[:, 3] - 1) * config.rotation_degrees))
    if not (config.nda or config.event_drop or config.time_shift or config.polarity_flip):
        return frames
    assert generator is not None
    # Drawn at once, whatever is switched on: one augmentation does not shift the draws of another.
    uniform = torch.rand(len(frames), 10, generator=generator, device=frames.device)
    if config.nda:
        frames = nda(frames, uniform[:, :4], config.nda)
    if config.time_shift:
        if config.time_shift >= frames.shape[1]:
            raise TrainingError(
                f"train.augmentation.time_shift = {config.time_shift}: expected less than the recordings' number of "
                f"time bins, {frames.shape[1]}"
            )
        frames = shift_time(frames, _whole(uniform[:, 4], -config.time_shift, config.time_shift))
    if config.polarity_flip > 0:
        flipped = uniform[:, 5, None, None, None, None] < config.polarity_flip
        frames = torch.where(flipped, frames.flip(2), frames)
    if config.event_drop:
        frames = event_drop(frames, uniform[:, 6:], generator)
    return frames


def crop(frames: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Pad (B, T, 2, H, W) with `padding` zeros all round, then cut H x W at row and column offsets (B, 2)."""
    height, width = frames.shape[-2:]
    rows = offsets[:, :1] + torch.arange(height, device=frames.device)
    columns = offsets[:, 1:] + torch.arange(width, device=frames.device)
    batch = torch.arange(len(frames), device=frames.device)
    padded = F.pad(frames, (padding,) * 4)
    # The index arrays stand apart, so their axes come first: (B, H, W, T, 2)
    cut = padded[batch[:, None, None], :, :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 4, 1, 2)


def rotate(frames: Tensor, angles: Tensor) -> Tensor:
    """Rotate square frames (B, T, 2, S, S) about their centre by angles (B,) in radians, to the nearest pixel."""
    return _read_at(frames, _affine_grid(frames, angles.cos(), -angles.sin(), angles.sin()))


def nda(frames: Tensor, draws: Tensor, intensity: int) -> Tensor:
    """Roll, rotate, shear or cut a square out of each recording's square frames (B, T, 2, S, S): NDA with one change.

    Which, with equal probability, and how far follow from uniform draws (B, 4) in [0, 1). Li et al., "Neuromorphic Data
    Augmentation for Training Spiking Neural Networks", ECCV 2022. Of an `intensity` n, on frames of 48 pixels (on
    others in proportion): roll by up to 1 + 2n pixels along each axis, what leaves at one edge entering at the other;
    rotation, and shear along x, by up to 15n degrees; a square of side U(1, 8n) pixels around a point of the frame.
    n = 1 has the ranges of the released code for N-Caltech101, n = 2 those for CIFAR10-DVS; it has no cutout.
    """
    size = frames.shape[-1]
    roll, rotation, shear, cutout = (_whole(draws[:, 0], 0, 3) == kind for kind in range(4))
    angles = torch.deg2rad((2 * draws[:, 1] - 1) * 15 * intensity)
    turn, slope = angles * rotation, (angles * shear).tan()  # of 0 for the other recordings
    grid = _affine_grid(frames, turn.cos(), slope - turn.sin(), turn.sin())

    reach = round((1 + 2 * intensity) * size / PUBLISHED_SIZE)
    shifts = _whole(draws[:, 1:3], -reach, reach) * (2 / size)  # along x and y; the grid is 2 wide
    rolled = (grid + 1 - shifts[:, None, None]).remainder(2) - 1
    grid = torch.where(roll[:, None, None, None], rolled, grid)

    largest = max(1.0, 8 * intensity * size / PUBLISHED_SIZE)
    side = (1 + draws[:, 1] * (largest - 1)) * cutout
    rows, columns = (_covered(size, draws[:, axis] * size - side / 2, side) for axis in (2, 3))
    square = rows[:, :, None] & columns[:, None, :]
    return _read_at(frames, grid.masked_fill(square[..., None], 2.0))  # outside, where nothing is


def event_drop(frames: Tensor, draws: Tensor, generator: torch.Generator) -> Tensor:
    """Leave each recording's frames (B, T, 2, S, S) as they are, or drop time bins, a box or a share of their events.

    Which, with equal probability, and how much follow from uniform draws (B, 4) in [0, 1). Gu et al., "EventDrop: Data
    Augmentation for Event-based Learning", IJCAI 2021, with the ratios of the released code: 0.1, 0.2, ... 0.9 of the
    duration from a moment of the recording on; a box of 0.05, 0.1, ... 0.25 of the frame's width and height around a
    point; each event with probability 0.1, 0.2, ... 0.9. A bin or pixel is dropped if its centre is. A recording that
    would lose all its events keeps them all.
    """
    num_bins, size = frames.shape[1], frames.shape[-1]
    by_time, by_area, at_random = (_whole(draws[:, 0], 0, 3) == kind for kind in (1, 2, 3))
    tenths = _whole(draws[:, 1], 1, 9) / 10
    bins = _covered(num_bins, draws[:, 2] * num_bins, tenths * num_bins * by_time)
    side = _whole(draws[:, 1], 1, 5) / 20 * size * by_area
    # A box that would begin outside is moved in; one that would end there is cut (as released).
    rows, columns = (_covered(size, (draws[:, axis] * size - side / 2).clamp(min=0), side) for axis in (2, 3))
    dropped = bins[:, :, None, None] | (rows[:, None, :, None] & columns[:, None, None, :])
    kept = thin(frames, 1 - tenths * at_random, generator) * ~dropped[:, :, None]
    has_events = kept.flatten(1).amax(1) > 0
    return torch.where(has_events[:, None, None, None, None], kept, frames)


def thin(frames: Tensor, probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Keep each event of frames (B, T, 2, H, W) with its recording's probability (B,): whole counts stay whole.

    A count that resizing left between two whole ones is taken for the larger number of events, each an equal part.
    """
    num_events = frames.ceil()
    expanded = probabilities[:, None, None, None, None].expand_as(frames)
    return torch.binomial(num_events, expanded, generator=generator) * (frames / num_events.clamp(min=1))


def shift_time(frames: Tensor, shifts: Tensor) -> Tensor:
    """Frames (B, T, 2, H, W) later by shifts (B,) in bins, earlier where negative; empty bins enter."""
    num_bins = frames.shape[1]
    source = torch.arange(num_bins, device=frames.device) - shifts[:, None]
    batch = torch.arange(len(frames), device=frames.device)
    shifted = frames[batch[:, None], source.clamp(0, num_bins - 1)]
    return shifted.masked_fill(((source < 0) | (source >= num_bins))[:, :, None, None, None], 0)


def _whole(draws: Tensor, lowest: int, highest: int) -> Tensor:
    """Whole numbers from `lowest` to `highest`, equally likely, int64, from uniform draws in [0, 1)."""
    count = highest - lowest + 1
    return lowest + (draws * count).long().clamp_(max=count - 1)


def _covered(size: int, starts: Tensor, lengths: Tensor) -> Tensor:
    """Which of `size` cells of length 1 have their centre in [start, start + length): (B, size), of (B,) each."""
    centres = torch.arange(size, device=starts.device) + 0.5
    return (centres >= starts[:, None]) & (centres < (starts + lengths)[:, None])


def _affine_grid(frames: Tensor, diagonal: Tensor, x_of_y: Tensor, y_of_x: Tensor) -> Tensor:
    """Where each pixel of square frames (B, T, 2, S, S) comes from: (B, S, S, 2), x and y in [-1, 1]."""
    zero = torch.zeros_like(diagonal)
    matrices = torch.stack([diagonal, x_of_y, zero, y_of_x, diagonal, zero], dim=1).view(-1, 2, 3)
    return F.affine_grid(matrices, list(frames.flatten(1, 2).shape), align_corners=False)


def _read_at(frames: Tensor, grid: Tensor) -> Tensor:
    """The nearest pixels of frames (B, T, 2, H, W) to the points of a grid (B, H, W, 2); 0 outside."""
    images = frames.flatten(1, 2)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False).view(frames.shape)
