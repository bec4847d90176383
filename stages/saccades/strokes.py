"""Characters that are drawn before the camera, which stands still: how much ink each pixel sees, and when.

So N-Omniglot was made: its README (github.com/Brain-Cog-Lab/N-Omniglot) says that strokes of Omniglot were turned into
videos and recorded with a DAVIS346. Its picture of one recording (README.assets/sample_00.png, 9 s) has events of both
polarities all along the path, one kind just before the other: ink vanishes soon after it appears, at a guess within
0.1 to 0.3 s. Not known to us, for no recording and no full text of the paper was at hand: how long ink stays, how wide
the pen is, whether the video keeps Omniglot's times (half of the drawings of background_small1 and _small2 last 3.8 s
or less, 1 % more than 36 s), whether ink is dark or bright, and what is shown between two drawings.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inked(dots: Tensor, times: Tensor, lasts: Tensor, radius: Tensor, size: int) -> Tensor:
    """Share (B, m, size, size) of each pixel that ink covers at times (B, m), of drawings of dots (B, K, 4).

    dots: x, y in pixels from the frame's upper left corner, and from when to when the pen is there; neither falls.
    lasts (B, 1): for how long ink stays when the pen has left, inf: for good.  radius (B, 1): of the pen, pixels.

    A dot is drawn at its begin, and gone `lasts` after its end; so the ink of any time is dots in a row, and a pixel
    sees the nearest of them. That covers as much of the pixel as a straight line of the pen's width would, at its
    distance along a row or column. Of two lines within a pixel the nearer one counts alone. Between dots d apart the
    line is nearer than they are, by d^2 / 12 of the squared distance on average.
    """
    count, num_dots = dots.shape[:2]
    first = torch.searchsorted(dots[..., 3].contiguous(), times - lasts, right=True)
    behind = torch.searchsorted(dots[..., 2].contiguous(), times, right=True)
    number = behind - first
    level = torch.frexp(number.clamp(min=1).float()).exponent.long() - 1  # 2^level <= number < 2^(level + 1)
    nearest = _least_squares(dots[..., :2], size)
    table = (level * count + torch.arange(count, device=dots.device)[:, None]) * num_dots
    squares = nearest[table + first.clamp(max=num_dots - 1)]
    torch.minimum(squares, nearest[table + (behind - 2**level).clamp(min=0)], out=squares)
    apart = dots[..., :2].diff(dim=1).square().sum(-1).median(1).values  # of most dots: those of a stroke
    squares = (squares - apart[:, None, None] / 12).clamp_(min=0)
    within = (radius + 0.5)[..., None] - squares.sqrt_()
    covered = within.clamp_(min=0).minimum((2 * radius).clamp(max=1)[..., None])
    return torch.where(number[..., None] > 0, covered, 0).unflatten(-1, (size, size))


def _least_squares(places: Tensor, size: int) -> Tensor:
    """Squared distance of pixels from the nearest of the dots k to k + 2^level - 1, of places (B, K, 2).

    As rows (levels * B * K, size^2), in that order; those that would need dots behind the last one are not set.
    """
    count, num_dots = places.shape[:2]
    centres = torch.arange(size, device=places.device) + 0.5
    x, y = ((centres - places[..., axis, None]) ** 2 for axis in (0, 1))
    levels = places.new_empty(num_dots.bit_length(), count, num_dots, size, size)
    torch.add(y[..., :, None], x[..., None, :], out=levels[0])
    for level in range(1, len(levels)):
        step, before = 2 ** (level - 1), levels[level - 1]
        torch.minimum(before[:, :-step], before[:, step:], out=levels[level][:, :-step])
    return levels.flatten(3).flatten(0, 2)
