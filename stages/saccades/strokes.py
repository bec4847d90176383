"""Characters that are drawn before the camera, which stands still: how much ink each pixel sees, and when.

So N-Omniglot was made: its README (github.com/Brain-Cog-Lab/N-Omniglot) says that strokes of Omniglot were turned into
videos and recorded with a DAVIS346. Its picture of one recording (README.assets/sample_00.png, 9 s) has events of both
polarities all along the path, one kind just before the other: ink vanishes soon after it appears, at a guess within
0.1 to 0.3 s. Not known to us, for no recording and no full text of the paper was at hand: how long ink stays, how wide
the pen is, whether the video keeps Omniglot's times, whether ink is dark or bright, and what is shown between two
drawings (docs/datasets/nomniglot.md).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

_NUMBERS_AT_ONCE: Final = {"cuda": 1 << 24}  # drawings x dots x pixels; else one drawing, which stays in the cache


def inked(dots: Tensor, times: Tensor, lasts: Tensor, radius: Tensor, size: int) -> Tensor:
    """Share (B, m, size, size) of each pixel that ink covers at times (B, m), of drawings of dots (B, K, 4).

    dots: x, y in pixels from the frame's upper left corner, and from when to when the pen is there; neither falls.
    lasts (B, 1): for how long ink stays when the pen has left, inf: for good.  radius (B, 1): of the pen, pixels.

    A dot is drawn at its begin, and gone `lasts` after its end; so the ink of any time is dots in a row, and a pixel
    sees the nearest of them. That covers as much of the pixel as a straight line of the pen's width would, at its
    distance along a row or column. Of two lines within a pixel the nearer one counts alone. Between dots d apart the
    line is nearer than they are, by d^2 / 12 of the squared distance on average.
    """
    first = torch.searchsorted(dots[..., 3].contiguous(), times - lasts, right=True)
    behind = torch.searchsorted(dots[..., 2].contiguous(), times, right=True)
    places = dots[..., :2]
    squares = _least_squares(places, first, behind, size)
    apart = places.diff(dim=1).square().sum(-1).median(1).values  # of most dots: those of a stroke
    distances = squares.sub_(apart[:, None, None] / 12).clamp_(min=0).sqrt_()
    covered = distances.neg_().add_((radius + 0.5)[..., None]).clamp_(min=0)
    torch.minimum(covered, (2 * radius).clamp(max=1)[..., None], out=covered)
    return covered.unflatten(2, (size, size))  # type: ignore[no-untyped-call, no-any-return]


def _least_squares(places: Tensor, first: Tensor, behind: Tensor, size: int) -> Tensor:
    """Squared distance (B, m, size^2) of pixels from the nearest of the dots first to behind - 1, both (B, m).

    inf where these are none. By tables of the least distance from 1, 2, 4 ... dots in a row, some drawings at a time.
    """
    count, num_dots = places.shape[:2]
    centres = torch.arange(size, device=places.device) + 0.5
    x, y = ((centres - places[..., axis, None]).square() for axis in (0, 1))
    level = torch.frexp((behind - first).clamp(min=1).float()).exponent.long() - 1  # 2^level <= behind - first
    levels = num_dots.bit_length() if places.is_cuda else int(level.max()) + 1  # a GPU is not waited for
    at_once = min(count, max(1, _NUMBERS_AT_ONCE.get(places.device.type, 0) // (num_dots * size**2)))
    tables = places.new_empty(levels, at_once, num_dots, size, size)
    rows = tables.flatten(3).flatten(0, 2)
    found = places.new_empty(count, first.shape[1], size**2)
    for start in range(0, count, at_once):
        part = slice(start, min(start + at_once, count))
        number = part.stop - start
        torch.add(y[part, :, :, None], x[part, :, None, :], out=tables[0, :number])
        for higher in range(1, levels):
            step, before = 2 ** (higher - 1), tables[higher - 1, :number]
            torch.minimum(before[:, :-step], before[:, step:], out=tables[higher, :number, :-step])
        table = (level[part] * at_once + torch.arange(number, device=places.device)[:, None]) * num_dots
        lower = table + first[part].clamp(max=num_dots - 1)
        upper = table + (behind[part] - (1 << level[part])).clamp(min=0)
        lowest, others = (rows.index_select(0, at.flatten()).view_as(found[part]) for at in (lower, upper))
        torch.minimum(lowest, others, out=found[part])
    return found.masked_fill_((behind <= first)[..., None], torch.inf)
