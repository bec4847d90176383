"""Photos for a camera to be moved before: bars and discs of their own grey on black."""

from __future__ import annotations

import numpy as np
import torch


def photos(count: int, size: int) -> torch.Tensor:
    """Drawn from one seed, (count, 1, size, size) in [0, 1], whole 255ths."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    shown = []
    for _ in range(count):
        (cx, cy), radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.15, 0.3)
        disc = np.clip((radius - np.hypot(x - cx, y - cy)) * size + 0.5, 0, 1)
        shown.append(np.maximum(disc * rng.uniform(0.5, 1), (abs(x - cx) < 0.06) * 0.8))
    return torch.tensor(np.array(shown)[:, None] * 255).round().float() / 255
