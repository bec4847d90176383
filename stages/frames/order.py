"""Events whose times step back, put in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..sources.base import Events
from ..sources.formats.columns import join

WINDOW: Final = 1 << 20
"""Events of a recording in pieces that are held back to be sorted with the next ones: how far one may be late."""


def num_late(t: NDArray[np.int64], before_us: int) -> int:
    """How many events are earlier than one before them, where the latest before all of them was at `before_us`."""
    return int(np.count_nonzero(t < np.maximum(np.maximum.accumulate(t), before_us)))


def by_time(events: Events) -> Events:
    """The events in the order of their times; those of one time stay in theirs."""
    return _take(events, np.argsort(events.t, kind="stable"))


def in_order(pieces: Iterable[Events]) -> Iterator[Events]:
    """The events of all pieces by time, as far as none is more than `WINDOW` events late: then a piece begins earlier
    than the one before it ended."""
    held: list[Events] = []
    for piece in pieces:
        events = by_time(join([*held, piece]))
        num_ready = max(0, len(events) - WINDOW)
        if num_ready:
            yield _take(events, slice(num_ready))
        held = [_take(events, slice(num_ready, None))]
    yield from held


def _take(events: Events, which: NDArray[np.intp] | slice) -> Events:
    return replace(events, **{name: getattr(events, name)[which] for name in "xytp"})
