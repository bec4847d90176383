"""How the photo moves before the camera, or the camera before the photo: one way for each way data sets were made.

A motion maps times (B, n) in [0, 1], shares of the recording, and a generator on their device, to positions (B, n, 2):
x to the right, then y down, in amplitudes, anywhere within a square of side 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .config import NUM_SACCADES, PAN, TILT

Motion = Callable[[Tensor, torch.Generator], Tensor]

_LOOPS = 6  # of a recording of CIFAR10-DVS
_DRIFTING_WAVES = 3


def saccades(times: Tensor, generator: torch.Generator) -> Tensor:
    """Three saccades along a triangle, pan and tilt each in its own time (Orchard et al., 2015; measured)."""
    return torch.stack([_moved(PAN, NUM_SACCADES * times), _moved(TILT, NUM_SACCADES * times)], -1)


def loop(times: Tensor, generator: torch.Generator) -> Tensor:
    """Along the diagonals' four directions back to the beginning, at constant speed, six times (Li et al., 2017)."""
    quarter = 4 * ((_LOOPS * times) % 1)
    return torch.stack([(quarter - 2).abs() / 2, ((quarter + 1) % 4 - 2).abs() / 2], -1)


def drift(times: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth path of its own for each photo: waves of up to three periods with random phases and weights."""
    shape, device = (len(times), 1, 2, _DRIFTING_WAVES), times.device
    weights = torch.rand(shape, generator=generator, device=device)
    phases = torch.rand(shape, generator=generator, device=device)
    periods = torch.arange(1, _DRIFTING_WAVES + 1, device=device)
    waves = weights / periods * torch.cos(2 * math.pi * (periods * times[..., None, None] + phases))
    return (waves.sum(-1) / (weights / periods).sum(-1) + 1) / 2


MOTIONS: dict[str, Motion] = {"saccades": saccades, "loop": loop, "drift": drift}


def _moved(moves: tuple[tuple[float, float, float], ...], at: Tensor) -> Tensor:
    """Position after moves (begin, end, distance), each a raised cosine."""
    moved = torch.full_like(at, sum(distance for *_, distance in moves) / 2)
    for begin, end, distance in moves:
        phase = ((at - begin) * (math.pi / (end - begin))).clamp_(0, math.pi)
        moved.sub_(phase.cos_(), alpha=distance / 2)
    return moved
