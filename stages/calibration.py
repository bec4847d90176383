"""How a camera of the encoding `saccade` has to be set, so that drawn frames look like recordings of a data set.

Only recordings that may train are looked at, and no label but to show photos of the same classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from ..cache.errors import ConfigError, StoreError
from ..cache.paired import PairedCache
from .batches.data import read_static
from .preview import PreviewSample, draw
from .saccades.config import SaccadeConfig
from .saccades.pixels import Camera

IntArray = NDArray[np.int64]

_MOST_RECORDINGS = 2000
_NUM_PHOTOS = 160  # that each trial draws
_NUM_CELLS = 8  # of a side: what lies where is compared in as many parts
_BEGINNINGS = (0.03, 0.12)  # amplitudes, or how long ink stays: from one alone the search may end beside the best
_SHORTEST_INK = 0.01  # shorter needs more moments than a trial has time for
_FIRST_TRIALS, _TRIALS = 80, 120
_SHOWN = 4
_LAGS = ((0, 1), (1, 0), (0, 2), (2, 0))  # rows and columns, pixels: how wide the bands of events are
# How far the proposed ranges reach to each side of what fits best: factors, but for `start`. Ours; see docs/methods.md.
_MARGINS = {"amplitude": 1.12, "ink": 1.12, "scale": 1.12, "speed": 1.015, "start": 0.015}
_SPREADS = (1.3, 1.45, 1.6, 1.8, 2.0)  # of thresholds


@dataclass(frozen=True)
class CalibrationReport:
    """The camera that was found, and how alike its frames are.

    error_before, error: distance of drawn frames from recorded ones, of the given settings, and of those found: root
    mean square of differences in 2 sqrt(n), which has standard deviation 1 of a Poisson count n, over bins, polarities
    and 8 x 8 parts of the frame; and of differences in how alike neighbouring pixels are.
    recorded, drawn: mean counts (T, 2) of OFF and ON events. recorded_spread, drawn_spread: standard deviation of the
    logarithm of a recording's number of events.
    """

    saccade: SaccadeConfig
    num_recordings: int
    num_photos: int
    error_before: float
    error: float
    recorded: list[list[float]]
    drawn: list[list[float]]
    recorded_spread: float
    drawn_spread: float
    picture: Path


def run(pairs: Path, out: Path, given: SaccadeConfig | None = None, unlabelled: bool = False) -> CalibrationReport:
    """Find settings for the training recordings of a pair store, and draw recordings beside drawn frames to `out`.

    unlabelled: for all recordings that training may see, and no label is read: photos are drawn of the whole pool.
    given: where the search begins; motion, surround, pen, shift, rotation and contrast are kept, and so is `inverted`
    where it was given: else both displays are tried. With the motion `strokes`, how long ink stays is looked for in
    place of the amplitude.  Raises ConfigError: `out` is no PNG. StoreError: no training recordings or no images, or no
    strokes for that motion; bins that are not of equal duration.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: pictures are written as PNG; give a name that ends in .png")
    split = PairedCache.open(pairs, "train")
    source = split.unlabelled if unlabelled else split
    if not len(source) or not split.has_images:
        raise StoreError(f"{pairs}: needs training recordings, and images to draw")
    if split.bin_mode not in ("time", "exact"):
        raise StoreError(f"{pairs}: time bins of frames.mode = {split.bin_mode}; drawn ones have equal durations")
    start = given or SaccadeConfig()
    if start.reads == "strokes" and not split.has_strokes:
        raise StoreError(f"{pairs}: motion = strokes needs images with strokes: convert the source omniglot-strokes")
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(source))[:_MOST_RECORDINGS]
    recordings = torch.from_numpy(source.load_events(rows).astype(np.float32))
    labels = source.event_labels[rows]
    chosen = _photos_of(split, labels, rng, _NUM_PHOTOS)
    search = _Search(recordings, torch.from_numpy(read_static(split, start.reads, chosen)))
    begun = [
        search.fit(start.model_copy(update={_reach(start): (at, at), "inverted": inverted}), _FIRST_TRIALS)
        for inverted in ((start.inverted,) if "inverted" in start.model_fields_set else (False, True))
        for at in _BEGINNINGS
    ]
    found = search.fit(min(begun, key=search.error), _TRIALS)
    if (spread := search.spread(found)) > _SPREADS[0]:
        # Thresholds further apart make fewer events: the lower ones do not make up for the higher ones.
        found = search.fit(found, _TRIALS, spread)
    drawn = search.draw(found)
    samples = []
    for row in range(min(_SHOWN, len(rows))):
        samples.append(PreviewSample(f"recorded: {source.sample_ids[rows[row]]}", recordings[row].numpy()))
        photo = _photos_of(split, labels[[row]], rng, 1)
        shown = search.draw(found, torch.from_numpy(read_static(split, start.reads, photo)))[0].numpy()
        samples.append(PreviewSample(f"drawn: {split.image_ids[photo[0]]}", shown, split.load_images(photo)[0]))
    draw(samples, out)
    return CalibrationReport(
        saccade=found,
        num_recordings=len(rows),
        num_photos=len(chosen),
        error_before=search.error(start),
        error=search.error(found),
        recorded=recordings.sum((3, 4)).mean(0).tolist(),
        drawn=drawn.sum((3, 4)).mean(0).tolist(),
        recorded_spread=_spread(recordings),
        drawn_spread=_spread(drawn),
        picture=out,
    )


def _photos_of(split: PairedCache, labels: IntArray, rng: np.random.Generator, count: int) -> IntArray:
    """`count` rows of the static pool, classes as often as in `labels`; any where these are -1."""
    if (labels == -1).all():
        return rng.choice(len(split.pool_rows), count)
    pool = split.image_labels
    wanted = rng.permutation(labels[np.isin(labels, pool)])
    return np.array([rng.choice(np.flatnonzero(pool == label)) for label in np.resize(wanted, count)], np.int64)


class _Search:
    """Recordings (n, T, 2, S, S), and photos (m, 1, h, w) that are drawn anew with the same random numbers."""

    def __init__(self, recordings: Tensor, photos: Tensor) -> None:
        self.recordings, self.photos = recordings, photos
        self.num_bins, self.size = recordings.shape[1], recordings.shape[-1]
        self.wanted = self._statistics(recordings)

    def draw(self, config: SaccadeConfig, photos: Tensor | None = None) -> Tensor:
        shown = self.photos if photos is None else photos
        return Camera(config, self.num_bins, self.size).record(shown, torch.Generator().manual_seed(0))

    def error(self, config: SaccadeConfig) -> float:
        return float((self._statistics(self.draw(config)) - self.wanted).square().mean().sqrt())

    def fit(self, start: SaccadeConfig, trials: int, spread: float = _SPREADS[0]) -> SaccadeConfig:
        """The settings, each range around what fits best, by Nelder and Mead's simplex. spread: of thresholds."""
        begin = _centres(start)
        first = np.zeros(len(begin))
        steps = np.array([0.25, 0.4, 0.4, 0.02, 0.02, 0.15, 1.0])
        simplex = np.vstack([first, first + np.diag(steps)])
        found = minimize(
            lambda change: self.error(_around(start, begin, change, spread)),
            first,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "maxfev": trials},
        )
        return _around(start, begin, found.x, spread)

    def spread(self, config: SaccadeConfig) -> float:
        """The factor to each side of the thresholds with which numbers of events are as far apart as recorded ones."""
        wanted, centres = _spread(self.recordings), [_middle(config.on_threshold), _middle(config.off_threshold)]

        def wide(factor: float) -> SaccadeConfig:
            on, off = ((middle / factor, middle * factor) for middle in centres)
            return config.model_copy(update={"on_threshold": _rounded(on), "off_threshold": _rounded(off)})

        return min(_SPREADS, key=lambda factor: abs(_spread(self.draw(wide(factor))) - wanted))

    def _statistics(self, frames: Tensor) -> Tensor:
        """2 sqrt(n) of mean counts n of bins, polarities and 8 x 8 parts of the frame; and at the same weight how alike
        neighbouring pixels are, 10 times the mean product of their counts over the mean square."""
        cells = min(_NUM_CELLS, self.size)
        places = 2 * (F.adaptive_avg_pool2d(frames.mean(0), cells) * (self.size / cells) ** 2).sqrt().flatten()
        square = frames.square().mean((0, 3, 4)).clamp(min=1e-9)
        alike = [
            (frames[..., rows:, columns:] * frames[..., : self.size - rows, : self.size - columns]).mean((0, 3, 4))
            / square
            for rows, columns in _LAGS
        ]
        neighbours = 10 * torch.stack(alike).flatten()
        return torch.cat([places, neighbours * (len(places) / len(neighbours)) ** 0.5])


def _reach(config: SaccadeConfig) -> str:
    """What decides how wide bands of events are, beside the image."""
    return "ink" if config.reads == "strokes" else "amplitude"


def _centres(config: SaccadeConfig) -> dict[str, float]:
    return {
        _reach(config): _middle(getattr(config, _reach(config))),
        "on_threshold": _middle(config.on_threshold),
        "off_threshold": _middle(config.off_threshold),
        "speed": _middle(config.speed),
        "start": sum(config.start) / 2,
        "scale": _middle(config.scale),
        "noise": max(sum(config.noise) / 2, 0.01),
    }


def _around(start: SaccadeConfig, begin: dict[str, float], change: NDArray[np.float64], spread: float) -> SaccadeConfig:
    """The settings with middles changed by `change` (7,): logarithms of factors; `start`'s is added."""
    at = {
        key: middle + float(by) if key == "start" else middle * float(np.exp(np.clip(by, -3, 3)))
        for (key, middle), by in zip(begin.items(), change, strict=True)
    }
    if "ink" in at:
        at["ink"] = max(at["ink"], _SHORTEST_INK)
    ranges = {
        key: (at[key] - margin, at[key] + margin) if key == "start" else (at[key] / margin, at[key] * margin)
        for key, margin in (_MARGINS | dict.fromkeys(("on_threshold", "off_threshold"), spread)).items()
        if key in at
    }
    ranges["noise"] = (0.0, 2 * at["noise"])
    update = {key: _rounded(bounds) for key, bounds in ranges.items()}
    return start.model_copy(update=update)


def _middle(bounds: tuple[float, float]) -> float:
    return float(np.sqrt(bounds[0] * bounds[1]))


def _rounded(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(f"{bound:.3g}") for bound in bounds)
    return low, high


def _spread(frames: Tensor) -> float:
    return float(frames.sum((1, 2, 3, 4)).clamp(min=1).log().std())
