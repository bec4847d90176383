"""What a conversion tells beside its counts: events that no frame shows, files that were not read, doubtful times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.store import FrameStore
from ..frames.spec import FramesConfig
from ..sources.base import GuessedUnit
from ..sources.reader import IgnoredFiles, Reader

LOW_SHARE: Final = 0.2
"""Told where the median is below. Of N-Caltech101's largest recordings, 240 x 180, the method's frames show 21 %."""
DURATIONS_US: Final = (1_000, 600_000_000)
RATES: Final = (0.05, 1_000.0)
"""Events a second and pixel: real recordings have 2.5 to 44 (docs/datasets/your-own.md), so a unit that is wrong by a
factor of 1,000 leaves this range."""

_SHOWN: Final = 10
_US_PER_UNIT: Final = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
_TAKEN_FOR: Final[dict[GuessedUnit, str]] = {"us": "whole numbers taken for us", "s": "floating point taken for s"}


@dataclass(frozen=True)
class Share:
    """Share of a recording's events that its frames show: median and 5th percentile over the readable recordings."""

    median: float
    percentile_5: float


def share_in_frames(store: FrameStore) -> Share | None:
    """None for a store without recordings, and for one that was made before they were counted."""
    if "num_in_frames/zarr.json" not in store.attributes.files:
        return None
    shares = _per_event(store, "num_in_frames")
    return Share(float(np.median(shares)), float(np.percentile(shares, 5)))


def notices(store: FrameStore, source: Reader, ignored: IgnoredFiles, frames: FramesConfig) -> tuple[str, ...]:
    """What the user should know of a conversion, each with what to do about it."""
    found = [*_ignored_files(source, ignored), *_empty_classes(store)]
    if store.kind == "events":
        found += [*_lost_events(store, frames), *_doubtful_times(store)]
    return tuple(found)


def _ignored_files(source: Reader, ignored: IgnoredFiles) -> Iterator[str]:
    if ignored.num_unexpected:
        more = ignored.num_unexpected - len(ignored.examples)
        yield (
            f"{ignored.num_unexpected:,} files are no samples and were not read: {', '.join(ignored.examples)}"
            f"{f' and {more:,} more' if more else ''}; expected {source.layout}. Move what should be read there, "
            "remove the others"
        )


def _empty_classes(store: FrameStore) -> Iterator[str]:
    empty = np.setdiff1d(np.arange(len(store.class_names)), store.label[store.valid])
    if len(empty):
        names = ", ".join(store.class_names[label] for label in empty[:_SHOWN])
        more = f" and {len(empty) - _SHOWN} more" if len(empty) > _SHOWN else ""
        yield f"classes without a readable sample: {names}{more}; fetch them, or go on without them"


def _lost_events(store: FrameStore, frames: FramesConfig) -> Iterator[str]:
    share = share_in_frames(store)
    if share is None or share.median >= LOW_SHARE:
        return
    told = (
        f"of a recording's events {share.median:.2%} reach its frames (median; 5th percentile {share.percentile_5:.2%})"
    )
    dropped = float(np.median(_per_event(store, "num_dropped")))
    if dropped > 1 - share.median - dropped:
        yield (
            f'{told}: {dropped:.2%} are in no time bin of mode {frames.mode!r}; with frames.mode = "exact" (--set '
            "frames.mode=exact; convert: --mode exact) every event is in one, or take more or longer bins"
        )
        return
    width, height = np.median(store.column("sensor_size")[store.valid], axis=0).astype(int)
    crop = "" if frames.crop else "frames.crop = true, "
    yield (
        f"{told}: resize 'bilinear' to {frames.size} x {frames.size} reads at most {2 * frames.size} of {width} "
        f'columns and of {height} rows, and no other event; with frames.resize = "sum" (--set frames.resize=sum; '
        f"convert: --resize sum) every event counts; else {crop}a larger frames.size, or recordings cut to a smaller "
        "part of the sensor"
    )


def _doubtful_times(store: FrameStore) -> Iterator[str]:
    """A unit that was guessed, with which the recordings are too long or short, too sparse or dense."""
    area = store.column("sensor_size").prod(axis=1)
    for guessed, taken_for in _TAKEN_FOR.items():
        rows = np.flatnonzero(store.valid & (store.column("guessed_unit") == guessed))
        if not len(rows):
            continue
        duration_us = store.column("duration_us")[rows]
        events_per_pixel = store.column("num_events")[rows] / area[rows]
        if _is_plausible(duration_us, events_per_pixel):
            continue
        others = {unit: _US_PER_UNIT[unit] / _US_PER_UNIT[guessed] for unit in _US_PER_UNIT if unit != guessed}
        fitting = {unit: f for unit, f in others.items() if _is_plausible(duration_us * f, events_per_pixel)} or others
        median_us = float(np.median(duration_us))
        would = ", ".join(f"{_duration(median_us * factor)} as {unit}" for unit, factor in fitting.items())
        unit = next(iter(fitting))
        yield (
            f"{len(rows):,} recordings state no unit of time; with {taken_for} they last {_duration(median_us)} "
            f"(median), {_rate(duration_us, events_per_pixel):.2g} events a second and pixel, which is not usual: it "
            f'would be {would}. Set the unit, also where the guess is right: frames.time_unit = "{unit}" (--set '
            f"frames.time_unit={unit}; convert: --time-unit {unit})"
        )


def _is_plausible(duration_us: NDArray[np.float64], events_per_pixel: NDArray[np.float64]) -> bool:
    in_time = DURATIONS_US[0] <= np.median(duration_us) <= DURATIONS_US[1]
    return bool(in_time and RATES[0] <= _rate(duration_us, events_per_pixel) <= RATES[1])


def _rate(duration_us: NDArray[np.float64], events_per_pixel: NDArray[np.float64]) -> float:
    """Median events a second and pixel; a recording without duration counts as one of 1 us."""
    return float(np.median(events_per_pixel / np.maximum(duration_us, 1)) * 1e6)


def _duration(us: float) -> str:
    unit = next((unit for unit in ("s", "ms", "us") if us >= _US_PER_UNIT[unit]), "ns")
    return f"{us / _US_PER_UNIT[unit]:.3g} {unit}"


def _per_event(store: FrameStore, column: str) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = store.column(column)[store.valid] / store.column("num_events")[store.valid]
    return shares
