"""Caltech101: photos of 101 kinds of objects and a background class (Li et al. 2003)."""

from __future__ import annotations

from .base import Sample, UInt8Array
from .class_folders import ClassFolderReader
from .images import decode_image


class Caltech101(ClassFolderReader):
    """The photos of the classes that N-Caltech101 has: photo NNNN of a class is the source of its recording NNNN."""

    name = "caltech101"
    kind = "images"
    title = "Caltech101"
    origin = "https://data.caltech.edu/records/mzrjq-6wc02 (`dvs-transfer download caltech101`)"
    licence = "CC BY 4.0"
    layout = "101_ObjectCategories/<class>/image_NNNN.jpg, or caltech-101.zip or 101_ObjectCategories.tar.gz with it"
    num_samples = 8_709  # 9,144 with the 435 of Faces
    num_classes = 101
    folder = "101_ObjectCategories"
    archives = (
        "caltech-101.zip",
        "101_ObjectCategories.tar.gz",
        "101_ObjectCategories.tar",
        "101_ObjectCategories.zip",
    )
    suffixes = (".jpg", ".jpeg", ".png")
    ignored_classes = frozenset({"Faces"})  # not recorded: N-Caltech101 has Faces_easy, the same photos cropped

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return decode_image(data, sample.location)
