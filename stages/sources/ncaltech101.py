"""N-Caltech101: Caltech101's photos on a monitor, recorded by a moving ATIS camera (Orchard et al. 2015).

Box annotations: `annotation_NNNN.bin`, int16 little-endian: rows, columns, then rows x columns values by column, first
for the box (row 0: x, row 1: y of its corners, in pixels), then for the object's outline. BACKGROUND_Google has none.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...cache.errors import SourceError
from .atis import open_records
from .base import AtisRecords, EventStream, Sample
from .class_folders import ClassFolderReader
from .layout import Place, open_place
from .random_access import RandomAccess

_ANNOTATIONS = "Caltech101_annotations"


class NCaltech101(ClassFolderReader):
    """Recordings of at most 240 x 180 pixels and 300 ms, in three saccades of 100 ms."""

    name = "ncaltech101"
    kind = "events"
    title = "N-Caltech101"
    origin = "https://data.mendeley.com/datasets/cy6cvx3ryv (`dvs-transfer download ncaltech101`)"
    licence = "CC BY 4.0"
    layout = (
        "Caltech101/<class>/image_NNNN.bin, or the archive N-Caltech101-archive.zip or Caltech101.zip that holds it"
    )
    num_samples = 8_709
    num_classes = 101
    sensor_size: ClassVar[tuple[int, int]] = (240, 180)
    folder = "Caltech101"
    archives = ("N-Caltech101-archive.zip", "Caltech101.zip")
    suffixes = (".bin",)
    ignored_classes = frozenset({"Faces"})  # the published set has Faces_easy alone

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._annotations = self._find_annotations()

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> AtisRecords | EventStream:
        return open_records(data, self.sensor_size, sample.location)

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """{"box": [x_min, y_min, x_max, y_max]} in pixels, where the recording is annotated. Raises SourceError."""
        class_name, _, stem = sample.sample_id.partition("/")
        if self._annotations is None:
            return {}
        place = self._annotations.child(class_name)
        file = f"annotation_{stem.removeprefix('image_')}.bin"
        return {"box": parse_box(place.read(file), place.where(file))} if place.exists(file) else {}

    def _find_annotations(self) -> Place | None:
        """The annotations lie beside the recordings: in the same folder or archive, or in an archive of their own."""
        beside = list(reversed(self._way[:-1]))
        if not beside or self.path.is_file():
            beside.append(open_place(self.path.parent))
        for place in beside:
            folders, files = place.children()
            if _ANNOTATIONS in folders:
                return place.child(_ANNOTATIONS)
            if f"{_ANNOTATIONS}.zip" in files:
                root = place.archive(f"{_ANNOTATIONS}.zip")
                return root.child(_ANNOTATIONS) if _ANNOTATIONS in root.children()[0] else root
        return None


def parse_box(data: bytes, location: str) -> list[int]:
    """[x_min, y_min, x_max, y_max] of an annotation's box, in pixels. Raises SourceError."""
    if len(data) >= 4:
        num_rows, num_columns = struct.unpack_from("<hh", data)
        num_bytes = 2 * num_rows * num_columns
        if num_rows == 2 and num_columns > 0 and len(data) >= 4 + num_bytes:
            x, y = np.frombuffer(data, dtype="<i2", count=2 * num_columns, offset=4).reshape(num_columns, 2).T
            return [int(x.min()), int(y.min()), int(x.max()), int(y.max())]
    raise SourceError(
        f"{location}: {len(data)} bytes do not hold a box (int16 rows = 2, columns, then their values at byte 4); "
        "fetch it again or remove it"
    )
