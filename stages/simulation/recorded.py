"""The photos of a source as recordings: each is shown to the simulated camera when it is read.

The events are those that `dvs-transfer simulate` writes of the same photo. No file lies between photo and frames, so
any source of images will do, and a photo that changes makes the store of its recordings stale, as it does the images'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...cache.errors import SourceError
from ..sources.base import Events, Sample
from ..sources.images import require_image
from ..sources.random_access import RandomAccess
from ..sources.reader import EventReader, IgnoredFiles, Listing, Reader
from .config import SimulationConfig
from .run import SIMULATOR_VERSION
from .sensor import NO_EVENTS, simulate_image


class RecordedPhotos(EventReader):
    """A recording of each photo, by a simulated camera; samples, ids and raw files are those of `photos`."""

    name = "recorded-photos"
    version = str(SIMULATOR_VERSION)

    def __init__(self, photos: Reader, simulation: SimulationConfig) -> None:
        assert photos.kind == "images"
        self.photos = photos
        self.simulation = simulation
        super().__init__(photos.path)

    def list_samples(self) -> Listing:
        return self.photos.class_names, list(self.photos.samples)

    def read_content(self, sample: Sample) -> bytes | RandomAccess:
        return self.photos.read_content(sample)

    def decode(self, sample: Sample, data: Any) -> Events:
        photo = require_image(self.photos.decode(sample, data), sample.location)
        events = simulate_image(photo, self.simulation, sample.sample_id)
        if not len(events):
            raise SourceError(f"{sample.location}: {NO_EVENTS}")
        return replace(events, sensor_size=(self.simulation.sensor_width, self.simulation.sensor_height))

    def ignored_files(self) -> IgnoredFiles:
        """None: the conversion of the photos tells of them."""
        return IgnoredFiles()

    def arguments(self) -> Iterable[Any]:
        return self.photos, self.simulation
