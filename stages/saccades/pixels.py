"""The pixel model of the simulator as operations on whole batches: photos in, event frames out, nothing is kept.

A pixel's reference lies between an ON and an OFF threshold; when the log luminance is one of them away from where the
pixel last fired, it fires and its reference follows (ESIM, Rebecq et al. 2018). Luminance is looked at several times in
a time bin and taken for monotonic in between, so a whole step of thresholds is counted at once; there are no times of
events, and no refractory time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ...cache.errors import TrainingError
from ..plugins import find
from .config import MOST_SAMPLES, SMALLEST_THRESHOLD, STROKES, SaccadeConfig
from .motion import MOTIONS, Motion
from .strokes import inked


@dataclass(frozen=True)
class Camera:
    """What photos are moved before. Frames have `num_bins` time bins of equal duration and `size` x `size` pixels."""

    config: SaccadeConfig
    num_bins: int
    size: int

    @cached_property
    def motion(self) -> Motion:
        """Raises PluginError: no such motion. TrainingError: it gives no positions."""
        motion = find("motions", self.config.motion, MOTIONS)
        try:
            found = motion(torch.linspace(0, 1, 3).expand(2, 3), torch.Generator())
        except (TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"train.saccade.motion = {self.config.motion}: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(found, Tensor) and found.shape == (2, 3, 2) and found.isfinite().all()):
            form = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise TrainingError(
                f"train.saccade.motion = {self.config.motion}: expected finite positions (B, n, 2) of times (B, n); "
                f"found {form} of times (2, 3)"
            )
        return motion

    @cached_property
    def samples_per_bin(self) -> int:
        """Moments of a time bin at which luminance is looked at: at least two while ink stays, or it would be missed.

        Raises TrainingError: it stays too shortly for that.
        """
        config = self.config
        if config.motion != STROKES or config.ink[0] >= 1:
            return config.samples_per_bin
        needed = math.ceil(2 * config.speed[1] / (config.ink[0] * self.num_bins))
        if needed > MOST_SAMPLES:
            raise TrainingError(
                f"train.saccade.ink = {list(config.ink)}: to see ink that stays so shortly, each of {self.num_bins} "
                f"time bins needs {needed} moments, and the limit is {MOST_SAMPLES}: let it stay for "
                f"{2 * config.speed[1] / (MOST_SAMPLES * self.num_bins):.2g} or more"
            )
        return max(needed, config.samples_per_bin)

    def check(self) -> None:
        """Raises PluginError or TrainingError where the settings cannot be used."""
        _ = self.samples_per_bin if self.config.motion == STROKES else self.motion

    @torch.no_grad()
    def record(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """Event counts (B, T, 2, size, size), float32, polarity 0 = OFF, 1 = ON, of photos (B, 1, h, w) in [0, 1].

        h and w need not be `size`: edges that a frame's pixel cannot hold make events too. With the motion `strokes`
        it takes how they were drawn, dots (B, K, 4), see `PairedCache.load_strokes`. generator: on the photos' device,
        which is not waited for.
        """
        draws = _Draws(len(photos), photos.device, generator)
        if self.config.motion == STROKES:
            levels = self._drawn(photos, draws)
        else:
            luminances = self._luminances(photos, draws)
            levels = self._seen(luminances, self._path(draws), draws)
        counts = self._fired(levels, draws)
        self._add_noise(counts, draws)
        return counts

    def _luminances(self, photos: Tensor, draws: _Draws) -> Tensor:
        """Log luminance (B, 1, h, w) of the displayed photos; 0 is what is beside them, where that is black."""
        config = self.config
        black = draws.between(config.black_level, 1, 1, 1)
        shown = (1 - photos if config.inverted else photos) ** draws.between(config.gamma, 1, 1, 1)
        luminance = (black + (1 - black) * shown).log()
        if config.surround == "edge" or config.inverted:  # inverted, black is as bright as white: log 1 = 0
            return luminance
        return luminance - black.log()

    def _times(self, draws: _Draws) -> Tensor:
        """When in the motion each sample is (B, n + 1): 0 to 1 is the whole of it."""
        config, count = self.config, self.num_bins * self.samples_per_bin
        times = torch.arange(count + 1, device=draws.device, dtype=torch.float32) / count
        return times * draws.between(config.speed, 1) + draws.between(config.start, 1)

    def _path(self, draws: _Draws) -> Tensor:
        """Where the photo's centre is at each sample (B, n + 1, 2): x, y from the frame's, in shares of its side."""
        config, times = self.config, self._times(draws)
        path = (self.motion(times.clamp(0, 1), draws.generator) - 0.5) * draws.between(config.amplitude, 1, 1)
        turn = draws.around(math.radians(config.direction_degrees), 1)
        cos, sin, x, y = turn.cos(), turn.sin(), path[..., 0], path[..., 1]
        return torch.stack([cos * x - sin * y, sin * x + cos * y], -1) + draws.around(config.shift, 1, 2)

    def _seen(self, luminances: Tensor, path: Tensor, draws: _Draws) -> Tensor:
        """Log luminance (B, n + 1, S, S) at each pixel and sample: the photo turned, scaled and moved, bilinear."""
        size, config = self.size, self.config
        centres = (
            (torch.arange(size, device=draws.device) + 0.5) / size - 0.5
        ) * 2  # of pixels, the frame being [-1, 1]
        x, y = (centres - 2 * path[..., axis, None] for axis in (0, 1))  # each (B, n + 1, S)
        turn, scale = draws.around(math.radians(config.rotation_degrees), 1, 1), draws.between(config.scale, 1, 1)
        if config.mirrored > 0:
            luminances = torch.where(draws.uniform(1, 1, 1) < config.mirrored, luminances.flip(-1), luminances)
        # Places as complex numbers x + iy: turned and scaled by one factor, and all of them made by one sum.
        back = torch.polar(1 / scale, -turn)
        grid = torch.view_as_real((back * x)[:, :, None, :] + (1j * back * y)[:, :, :, None])
        seen = F.grid_sample(
            luminances,
            grid.flatten(1, 2),
            padding_mode="border" if config.surround == "edge" else "zeros",
            align_corners=False,
        )
        return seen.view(grid.shape[:4])

    def _drawn(self, strokes: Tensor, draws: _Draws) -> Tensor:
        """Log luminance (B, n + 1, S, S) at each pixel and sample: white paper that dark ink comes to, or the negative.

        The paper is blank before the first dot and fills the frame; what is drawn is turned, scaled and moved.
        """
        config, size, times = self.config, self.size, self._times(draws)
        black, lasts = draws.between(config.black_level, 1, 1, 1), draws.between(config.ink, 1)
        turn, scale = draws.around(math.radians(config.rotation_degrees), 1), draws.between(config.scale, 1)
        radius, shift = draws.between(config.pen, 1) / 2 * scale * size, draws.around(config.shift, 1, 2)
        x, y = (strokes[..., axis] - 0.5 for axis in (0, 1))  # from the image's centre, in shares of its side
        if config.mirrored > 0:
            x = torch.where(draws.uniform(1) < config.mirrored, -x, x)
        cos, sin = turn.cos() * scale, turn.sin() * scale
        places = torch.stack([cos * x - sin * y, sin * x + cos * y], -1) + shift + 0.5
        dots = torch.cat([places * size, strokes[..., 2:]], -1)
        shown = inked(dots, times, torch.where(lasts < 1, lasts, math.inf), radius, size)
        if not config.inverted:
            shown.neg_().add_(1)
        return shown.mul_(1 - black).add_(black).log_()

    def _fired(self, levels: Tensor, draws: _Draws) -> Tensor:
        """Counts (B, T, 2, S, S) of pixels that see levels (B, n + 1, S, S)."""
        config, pixels = self.config, levels.shape[2:]
        on, off = (
            (draws.between(mean, 1, 1) * (1 + config.mismatch * draws.normal(*pixels))).clamp_(SMALLEST_THRESHOLD)
            for mean in (config.on_threshold, config.off_threshold)
        )
        first, *others = levels.unbind(1)
        # At the start a pixel lies anywhere between its thresholds (earlier motion); 0.999: not at one of them.
        reference = first - 0.999 * config.start_spread * (on - draws.uniform(*pixels) * (on + off))
        middle, half = (on + off) / 2, (on - off) / 2
        fired = levels.new_empty(len(others), *first.shape)  # thresholds passed at each sample, those of OFF below 0
        for level, passed in zip(others, fired, strict=True):
            above = level - reference
            threshold = torch.addcmul(middle, half, above.sign())  # `torch.where` takes ten times as long on a CPU
            torch.div(above, threshold, rounding_mode="trunc", out=passed)
            reference.addcmul_(passed, threshold)
        counts = levels.new_empty(len(levels), self.num_bins, 2, *pixels)
        by_bin = fired.view(self.num_bins, self.samples_per_bin, *first.shape)
        for polarity, events in ((1, by_bin.relu()), (0, by_bin.neg_().relu_())):
            torch.sum(events, 1, out=counts[:, :, polarity].transpose(0, 1))
        return counts

    def _add_noise(self, counts: Tensor, draws: _Draws) -> None:
        """Background events anywhere, and those of hot pixels, as Poisson processes."""
        config, num_pixels = self.config, self.size**2
        if config.noise[1] > 0:
            flat, room = counts.flatten(1), _room(config.noise[1] * num_pixels)
            num_events = draws.poisson(draws.between(config.noise, 1) * num_pixels)
            flat.scatter_add_(1, draws.index(flat.shape[1], room), draws.first(num_events, room))
        if config.hot_pixels * config.hot_pixel_events > 0:
            room = _room(config.hot_pixels)
            is_hot = draws.first(
                draws.poisson(torch.full((draws.count, 1), config.hot_pixels, device=draws.device)), room
            )
            mean = config.hot_pixel_events / (2 * self.num_bins) * is_hot[:, None, None]
            events = draws.poisson(mean.expand(-1, *counts.shape[1:3], -1))
            counts.flatten(3).scatter_add_(3, draws.index(num_pixels, 1, 1, room).expand_as(events), events)


def _room(mean: float) -> int:
    """Events of a Poisson process of that mean are at most as many, but once in a thousand million times."""
    return math.ceil(mean + 6 * math.sqrt(mean) + 6)


@dataclass(frozen=True)
class _Draws:
    """Random numbers for `count` photos; shapes are (count, *shape)."""

    count: int
    device: torch.device
    generator: torch.Generator

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.count, *shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator, device=self.device)

    def between(self, bounds: Sequence[float], *shape: int) -> Tensor:
        return bounds[0] + (bounds[1] - bounds[0]) * self.uniform(*shape)

    def around(self, largest: float, *shape: int) -> Tensor:
        """Evenly from [-largest, largest]."""
        return largest * (2 * self.uniform(*shape) - 1)

    def index(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, (self.count, *shape), generator=self.generator, device=self.device)

    def first(self, num_events: Tensor, room: int) -> Tensor:
        """1 for each of `num_events` (B, 1), then 0: (B, room), a shape that does not depend on how many they are."""
        return (torch.arange(room, device=self.device) < num_events).float()

    def poisson(self, mean: Tensor) -> Tensor:
        return torch.poisson(mean, generator=self.generator)
