"""What readers give: samples, recordings as their files have them, images; and the words for times and sensors.

A reader decodes; whether a recording can be (coordinates on the sensor, times in order, polarities) is judged where
all pass, in `frames.checked`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ...cache.documents import Frozen

UInt8Array = NDArray[np.uint8]
TimeUnit = Literal["auto", "ns", "us", "ms", "s"]
GuessedUnit = Literal["us", "s"]

LARGEST_SENSOR: Final = (1280, 960)
"""(width, height) of the largest event camera, in pixels: coordinates beyond it are a damaged file's."""
MAX_SENSOR_SIDE: Final = 65_536
"""Pixels; coordinates are kept as uint16."""


class Windows(Frozen):
    """Window k of a recording, or of a segment of one: from its start + k `every_us` on, `length_us` long."""

    every_us: int = Field(ge=1, le=2**40, description="from the start of a window to that of the next, us")
    length_us: int = Field(ge=1, le=2**40, description="duration of a window, us")


@dataclass(frozen=True, slots=True)
class Sample:
    """One recording or image of a source.

    sample_id: "<class name>/<stem>", unique in its source, the key that pairs a recording with its photo.
    label: index of the class in the source's `class_names`.
    location: where it lies, as messages show it (a path, or "<archive>!<member>").
    """

    sample_id: str
    label: int
    location: str


class Ranges(NamedTuple):
    """Lowest and highest x, y and p of events, and whether none has a time before that of the one before it."""

    x_low: int
    x_high: int
    y_low: int
    y_high: int
    p_low: int
    p_high: int
    is_ordered: bool


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a recording, each column (n,) of any type of numbers, not judged yet.

    x, y: pixels.  t: microseconds, ascending.  p: polarity, 0 (OFF) and 1 (ON), or -1 and 1.
    sensor_size: (width, height) in pixels, where the recording's file states it.
    guessed_unit: what t was taken for, where neither the format nor the user says its unit.
    assumed: what else the file leaves open and was assumed, as a message says it of the file; "" for nothing.
    ranges: of these very arrays, where their decoder looked; they cannot be written to then. None in a changed copy.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    t: NDArray[Any]
    p: NDArray[Any]
    sensor_size: tuple[int, int] | None = None
    guessed_unit: GuessedUnit | None = None
    assumed: str = ""
    ranges: Ranges | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.t)

    def looked_at(self, ranges: Ranges) -> Events:
        """Keep what a decoder saw in all of its values."""
        for column in (self.x, self.y, self.t, self.p):
            column.flags.writeable = False
        object.__setattr__(self, "ranges", ranges)
        return self


@dataclass(frozen=True, slots=True)
class EventStream:
    """A recording that is not held in memory: its events in pieces, in order.

    pieces: gives the same pieces whenever it is called; it and its iterators raise SourceError.
    sensor_size, guessed_unit, assumed: as those of `Events`.
    """

    pieces: Callable[[], Iterator[Events]]
    sensor_size: tuple[int, int] | None = None
    guessed_unit: GuessedUnit | None = None
    assumed: str = ""


@dataclass(frozen=True, slots=True)
class AtisRecords:
    """A recording as the raw 5-byte records of N-Caltech101 and N-MNIST, shape (5 * n,) uint8, not decoded yet.

    The frame kernels read these directly. `sensor_size` (width, height) bounds x and y, in pixels, where it is known.
    """

    data: UInt8Array
    sensor_size: tuple[int, int] | None


Recording = Events | EventStream | AtisRecords
