"""What a conversion tells beside its counts: events that no frame shows, files that were not read, doubtful times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...cache.documents import name_some
from ...cache.store import FrameStore
from ..frames.spec import FramesConfig
from ..sources.base import GuessedUnit
from ..sources.formats.columns import assumed_order
from ..sources.reader import IgnoredFiles, Reader

LOW_SHARE: Final = 0.2
"""Told where the median is below. Of events spread evenly over 240 x 180 pixels the method's frames show 20.5 %."""
DURATIONS_US: Final = (1_000, 600_000_000)
RATES: Final = (0.05, 1_000.0)
"""Events a second and pixel: real recordings have 2.5 to 44 (docs/datasets/your-own.md), so a unit that is wrong by a
factor of 1,000 leaves this range."""

_SHOWN: Final = 10
_US_PER_UNIT: Final = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
_TAKEN_FOR: Final[dict[GuessedUnit, str]] = {"us": "whole numbers taken for us", "s": "fractions taken for s"}


@dataclass(frozen=True)
class Share:
    """Share of a recording's events that its frames show: median and 5th percentile over the readable recordings."""

    median: float
    percentile_5: float


def share_in_frames(store: FrameStore) -> Share | None:
    """None for a store without recordings, and for one that was made before they were counted."""
    if not _has(store, "num_in_frames"):
        return None
    shares = _per_event(store, "num_in_frames")
    return Share(float(np.median(shares)), float(np.percentile(shares, 5)))


def notices(store: FrameStore, source: Reader, ignored: IgnoredFiles, frames: FramesConfig) -> tuple[str, ...]:
    """What the user should know of a conversion, each with what to do about it."""
    found = [*source.remarks, *_ignored_files(source, ignored), *_mostly_broken(store, source), *_empty_classes(store)]
    if store.kind == "events":
        found += [
            *_lost_events(store, frames),
            *_moved_events(store),
            *_assumptions(store),
            *_doubtful_times(store),
        ]
    return tuple(found)


def _ignored_files(source: Reader, ignored: IgnoredFiles) -> Iterator[str]:
    if ignored.num_unexpected:
        more = ignored.num_unexpected - len(ignored.examples)
        yield (
            f"{ignored.num_unexpected:,} files are no samples and were not read: {', '.join(ignored.examples)}"
            f"{f' and {more:,} more' if more else ''}; expected {source.layout}. Move what should be read there, "
            "remove the others"
        )


def _mostly_broken(store: FrameStore, source: Reader) -> Iterator[str]:
    broken = int(np.count_nonzero(~store.valid))
    if 2 * broken > len(store):
        yield (
            f"{broken:,} of {len(store):,} samples cannot be read, more than half: are these files of {source.name}, "
            f"{source.layout}?"
        )


def _empty_classes(store: FrameStore) -> Iterator[str]:
    empty = np.setdiff1d(np.arange(len(store.class_names)), store.label[store.valid])
    if len(empty):
        names = name_some((store.class_names[label] for label in empty), _SHOWN)
        yield f"classes without a readable sample: {names}; fetch them, or go on without them"


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


def _moved_events(store: FrameStore) -> Iterator[str]:
    if not _has(store, "num_moved"):
        return
    num_moved = store.column("num_moved")
    rows = np.flatnonzero(num_moved)
    each = name_some((f"{store.sample_id[row]}: {num_moved[row]:,}" for row in rows), _SHOWN)
    yield (
        f"{num_moved.sum():,} events of {len(rows):,} recordings were earlier than one before them, and were sorted "
        f'(frames.order = "sort"): {each}'
    )


def _assumptions(store: FrameStore) -> Iterator[str]:
    """What files leave open and was assumed, with what their times were taken for."""
    if not _has(store, "assumed"):
        return
    found = list(zip(store.column("assumed").tolist(), store.column("guessed_unit").tolist(), strict=True))
    for assumed, unit in sorted({pair for pair in found if pair[0]}):
        names = [str(store.sample_id[row]) for row, pair in enumerate(found) if pair == (assumed, unit)]
        order, hint = assumed_order(assumed), ""
        if order:
            how = f'frames.columns = "{order}" (--set frames.columns={order}; convert: --columns {order})'
            hint = f"; say so, where it is right: {how}"
        times = f"; their times: {_TAKEN_FOR[unit]}" if unit else ""
        yield f"each of {len(names):,} recordings ({name_some(names)}) {assumed}{hint}{times}"


def _has(store: FrameStore, column: str) -> bool:
    """Whether the store has a column that not all have."""
    return f"{column}/zarr.json" in store.attributes.files


def _doubtful_times(store: FrameStore) -> Iterator[str]:
    """Recordings whose unit was guessed, and that are too long or short, too sparse or dense with it."""
    per_pixel = store.column("num_events") / np.maximum(store.column("sensor_size").prod(axis=1), 1)
    for guessed, taken_for in _TAKEN_FOR.items():
        of_unit = np.flatnonzero(store.valid & (store.column("guessed_unit") == guessed))
        rows = of_unit[~_is_usual(store.column("duration_us")[of_unit], per_pixel[of_unit])]
        if not len(rows):
            continue
        duration_us, events = float(np.median(store.column("duration_us")[rows])), float(np.median(per_pixel[rows]))
        others = {
            unit: duration_us * us / _US_PER_UNIT[guessed] for unit, us in _US_PER_UNIT.items() if unit != guessed
        }
        usual = {unit: would_be for unit, would_be in others.items() if _is_usual(would_be, events)} or others
        would_be = ", ".join(f"{_duration(us)} as {unit}" for unit, us in usual.items())
        unit = next(iter(usual))
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        yield (
            f"{len(rows):,} of {len(of_unit):,} recordings that state no unit of time "
            f"({store.sample_id[rows[0]]}{more}) have unusual times: with {taken_for} they last "
            f"{_duration(duration_us)} (median), with "
            f"{_rate(duration_us, events):.2g} events a second and pixel; it would be {would_be}. Set the unit, also "
            f'where the guess is right: frames.time_unit = "{unit}" (--set frames.time_unit={unit}; convert: '
            f"--time-unit {unit})"
        )


def _is_usual(duration_us: Any, events_per_pixel: Any) -> Any:
    """For each recording."""
    found = ((duration_us, DURATIONS_US), (_rate(duration_us, events_per_pixel), RATES))
    return np.logical_and(*((low <= value) & (value <= high) for value, (low, high) in found))


def _rate(duration_us: Any, events_per_pixel: Any) -> Any:
    """Events a second and pixel; a recording without duration counts as one of 1 us."""
    return events_per_pixel / np.maximum(duration_us, 1) * 1e6


def _duration(us: float) -> str:
    unit = next((unit for unit in ("s", "ms", "us") if us >= _US_PER_UNIT[unit]), "ns")
    return f"{us / _US_PER_UNIT[unit]:.3g} {unit}"


def _per_event(store: FrameStore, column: str) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = store.column(column)[store.valid] / store.column("num_events")[store.valid]
    return shares
