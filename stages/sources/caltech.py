"""Caltech101, photos of 101 kinds of objects and a background class (Li et al. 2003), and N-Caltech101, the same photos
on a monitor, recorded by a moving ATIS camera (Orchard et al. 2015), with boxes but for BACKGROUND_Google."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from .atis import open_records, parse_box
from .base import AtisRecords, EventStream, Sample
from .random_access import RandomAccess
from .reader import EventReader, ImageReader, Listing
from .tree import Place, open_place

_ANNOTATIONS: Final = "Caltech101_annotations"


class Caltech101(ImageReader):
    """The photos of the classes that N-Caltech101 has: photo NNNN of a class is the source of its recording NNNN."""

    name = "caltech101"
    title = "Caltech101"
    origin = "https://data.caltech.edu/records/mzrjq-6wc02 (`dvs-transfer download caltech101`)"
    licence = "CC BY 4.0"
    layout = "101_ObjectCategories/<class>/image_NNNN.jpg, or caltech-101.zip or 101_ObjectCategories.tar.gz with it"
    num_samples = 8_709  # 9,144 with the 435 of Faces
    num_classes = 101
    folder = "101_ObjectCategories"
    archives = ("caltech-101.zip", *(f"101_ObjectCategories.{kind}" for kind in ("tar.gz", "tar", "zip")))
    suffixes = (".jpg", ".jpeg", ".png")
    ignored_classes = frozenset({"Faces"})  # not recorded: N-Caltech101 has Faces_easy, the same photos cropped


class NCaltech101(EventReader):
    """Recordings of at most 240 x 180 pixels and 300 ms, in three saccades of 100 ms."""

    name = "ncaltech101"
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
    access = "large"

    def list_samples(self) -> Listing:
        listing = super().list_samples()
        self._annotations = self._find_annotations()
        return listing

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
        beside = list(reversed(self.places[:-1]))
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
