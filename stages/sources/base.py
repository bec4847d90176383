"""What every source of raw data offers: its samples with class and id, their bytes, and the decoded recording or image.

A source is opened by name and path (`stages.sources.open_source`), lists its samples once and reads them one by one.
Reading is in two steps, so that one read of a file that can be held serves the digest and the decoding:
`read_content` (input/output, nothing else) and `decode` (every check; reads what could not be held).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .random_access import RandomAccess

UInt8Array = NDArray[np.uint8]
GuessedUnit = Literal["us", "s"]


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


LARGEST_SENSOR: Final = (1280, 960)
"""(width, height) of the largest event camera, in pixels: coordinates beyond it are a damaged file's."""


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a recording, checked: same lengths, time ascending, polarity 0 (OFF) or 1 (ON).

    x, y: (n,) uint16, pixels.  t: (n,) int64, microseconds.  p: (n,) uint8.
    sensor_size: (width, height) in pixels, where the recording's file states it.
    guessed_unit: what t was taken for, where neither the format nor the user says its unit.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    t: NDArray[np.int64]
    p: UInt8Array
    sensor_size: tuple[int, int] | None = None
    guessed_unit: GuessedUnit | None = None

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True, slots=True)
class EventStream:
    """A recording that is not held in memory: its events in pieces, in order.

    pieces: gives the same pieces whenever it is called; it and its iterators raise SourceError.
    sensor_size, guessed_unit: as those of `Events`.
    """

    pieces: Callable[[], Iterator[Events]]
    sensor_size: tuple[int, int] | None = None
    guessed_unit: GuessedUnit | None = None


@dataclass(frozen=True, slots=True)
class AtisRecords:
    """A recording as the raw 5-byte records of N-Caltech101 and N-MNIST, shape (5 * n,) uint8, not decoded yet.

    The frame kernels read these directly. `sensor_size` (width, height) bounds x and y, in pixels, where it is known.
    """

    data: UInt8Array
    sensor_size: tuple[int, int] | None


Recording = Events | EventStream | AtisRecords


@runtime_checkable
class Source(Protocol):
    """A raw data set. Implementations are cheap to open again by (name, path) in a worker process."""

    name: ClassVar[str]
    kind: ClassVar[Literal["events", "images"]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order."""
        ...

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Every sample, ordered by label, then by id."""
        ...

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        """The sample's file, or access to one that may be too large to be held. SourceError: it cannot be read."""
        ...

    def decode(self, sample: Sample, data: Any) -> Recording | UInt8Array:
        """The recording (kind "events") or the image as (H, W, 3) uint8 RGB (kind "images").

        Raises SourceError, naming the file, the byte offset where there is one, and what is wrong.
        """
        ...

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """Further facts kept with the sample (N-Caltech101: the annotation's box); {} where there are none."""
        ...
