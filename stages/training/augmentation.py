"""Augmentation of event frames, batched on their device: one draw for a recording, the same for all its frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentationConfig


def augment(frames: Tensor, draws: Tensor, config: AugmentationConfig) -> Tensor:
    """Augmented copy of frames (B, T, 2, H, W) from uniform draws (B, 4) in [0, 1)."""
    if config.crop:
        padding = frames.shape[-1] // 12
        offsets = (draws[:, :2] * (2 * padding + 1)).long().clamp_(max=2 * padding)
        frames = crop(frames, offsets, padding)
    if config.flip:
        frames = torch.where(draws[:, 2, None, None, None, None] < 0.5, frames.flip(-1), frames)
    if config.rotation_degrees > 0:
        frames = rotate(frames, torch.deg2rad((2 * draws[:, 3] - 1) * config.rotation_degrees))
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
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    images = frames.flatten(1, 2)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", align_corners=False).view(frames.shape)
