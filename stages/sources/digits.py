"""MNIST, handwritten digits in IDX files (LeCun, Cortes, Burges), and N-MNIST, these on a monitor, recorded by a moving
ATIS camera (Orchard et al. 2015).

IDX: two zero bytes, the type of the values (8: uint8), the number of dimensions, each dimension as uint32 big-endian,
then the values, last dimension fastest.
"""

from __future__ import annotations

import math
import struct
from typing import ClassVar, Final

import numpy as np

from ...cache.errors import SourceError
from .atis import open_records
from .base import AtisRecords, EventStream, Sample, UInt8Array
from .random_access import MAX_READ_BYTES, Inflated, InMemory, RandomAccess
from .reader import EventReader, ImageReader, Listing
from .tree import Place, find_folder, open_place

SIDE: Final = 28  # pixels
_FREE_RATIO_BYTES: Final = 1 << 20  # 60,000 labels of one digit are as compressible as they are
_DIGITS: Final = tuple(map(str, range(10)))
_FILES: Final = [f"{split}-{part}-ubyte" for split in ("train", "t10k") for part in ("images-idx3", "labels-idx1")]
# Folder of a split, and what MNIST calls it: recording 00042.bin of Train is of the 42nd digit of MNIST's "train".
_SPLITS: Final = {"Train": "train", "Test": "t10k"}


def _part_of(sample_id: str) -> str:
    """As the ids of both say it: "7/train-00042", "7/t10k-00042"."""
    return {"train": "train", "t10k": "test"}.get(sample_id.rpartition("/")[2].partition("-")[0], "")


class Mnist(ImageReader):
    """Grey digits of 28 x 28 pixels. Ids count from 1 in the file's order: "<digit>/train-00001" or "t10k-00001"."""

    name = "mnist"
    title = "MNIST"
    origin = "https://ossci-datasets.s3.amazonaws.com/mnist/ (`dvs-transfer download mnist`)"
    licence = "CC BY-SA 3.0"
    layout = "train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz], those of t10k, or both, here or in raw/"
    num_samples = 70_000
    num_classes = 10

    def list_samples(self) -> Listing:
        start = open_place(self.path)
        place = start.child("raw") if "raw" in start.children()[0] else start
        self.searched = (place,)
        self._images: dict[str, UInt8Array] = {}
        return _DIGITS, [sample for split in ("train", "t10k") for sample in self._open_split(split, place)]

    def is_used(self, place: Place, name: str) -> bool:
        """Also of what has nothing to do with MNIST: its folder is often a general one."""
        return "ubyte" not in name or name.removesuffix(".gz") in _FILES

    def _open_split(self, split: str, place: Place) -> list[Sample]:
        files = place.children()[1]
        stems = [f"{split}-{part}-ubyte" for part in ("images-idx3", "labels-idx1")]
        found = [name for stem in stems for name in (stem, f"{stem}.gz") if name in files]
        if not found:
            return []
        image_file, label_file = (next((name for name in found if name.startswith(stem)), None) for stem in stems)
        if image_file is None or label_file is None:
            raise SourceError(f"{place}: {split} has {found[0]} alone; fetch its images and its labels")
        location, label_location = place.where(image_file), place.where(label_file)
        images = parse_idx(place.read(image_file), 3, location)
        labels = parse_idx(place.read(label_file), 1, label_location)
        if images.shape[1:] != (SIDE, SIDE):
            raise SourceError(f"{location}: images of {images.shape[1]} x {images.shape[2]}, expected {SIDE} x {SIDE}")
        if len(images) != len(labels):
            raise SourceError(f"{label_location}: {len(labels)} labels for {len(images)} images; fetch both again")
        if wrong := np.flatnonzero(labels > 9).tolist():
            raise SourceError(
                f"{label_location}: label {labels[wrong[0]]} of image {wrong[0] + 1} (byte {8 + wrong[0]}) is no "
                "digit; fetch it again"
            )
        samples = []
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), start=1):
            samples.append(Sample(f"{label}/{split}-{number:05d}", label, f"{location}, image {number}"))
            self._images[samples[-1].sample_id] = image
        return samples

    def read_bytes(self, sample: Sample) -> bytes:
        return self._images[sample.sample_id].tobytes()

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        return _part_of(sample_id)

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return np.repeat(np.frombuffer(data, dtype=np.uint8).reshape(SIDE, SIDE, 1), 3, axis=2)


def parse_idx(data: bytes, num_dimensions: int, location: str) -> UInt8Array:
    """The array of an IDX file, plain or gzipped. Raises SourceError when header and length do not agree."""
    if data.startswith(b"\x1f\x8b"):
        plain = Inflated(InMemory(data, location), 31, location, _FREE_RATIO_BYTES)
        data = plain.read_at(0, plain.size)
    expected_magic = (0x08 << 8) | num_dimensions
    header_bytes = 4 + 4 * num_dimensions
    magic = int.from_bytes(data[:4], "big")
    if len(data) < header_bytes or magic != expected_magic:
        raise SourceError(
            f"{location}: starts with {data[:4].hex() or 'nothing'}, expected {expected_magic:08x}, an IDX file of "
            f"uint8 with {num_dimensions} dimensions; fetch it again"
        )
    shape = struct.unpack_from(f">{num_dimensions}I", data, 4)
    num_values = len(data) - header_bytes
    if math.prod(shape) != num_values or max(shape) > MAX_READ_BYTES:  # one may be 0, the others anything
        raise SourceError(
            f"{location}: {num_values} values after byte {header_bytes}, but the header announces "
            f"{' x '.join(map(str, shape))} = {math.prod(shape)}; the file is truncated or damaged: fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header_bytes).reshape(shape)


class NMnist(EventReader):
    """Recordings of 34 x 34 pixels and 300 ms. Ids are those of the recorded digit: "<digit>/train-00042"."""

    name = "nmnist"
    title = "N-MNIST"
    origin = "https://data.mendeley.com/datasets/468j46mzdv (`dvs-transfer download nmnist`)"
    licence = "CC BY-SA 4.0"
    layout = "Train/<digit>/<number>.bin, Test/<digit>/<number>.bin or both, or the archives Train.zip, Test.zip"
    num_samples = 70_000
    num_classes = 10
    sensor_size: ClassVar[tuple[int, int]] = (34, 34)
    access = "large"

    def list_samples(self) -> Listing:
        start = open_place(self.path)
        samples: list[Sample] = []
        for folder, split in _SPLITS.items():
            is_it = self.path.name == folder and self.path.is_dir()
            for place in [start] if is_it else find_folder(start, folder, (f"{folder}.zip",))[-1:]:
                self.searched += (place,)
                for label, digit in enumerate(_DIGITS):
                    for file in place.child(digit).children()[1]:
                        if file.endswith(".bin"):
                            stem = f"{split}-{file.removesuffix('.bin')}"
                            samples.append(self.add_file(digit, stem, label, place.child(digit), file))
        return _DIGITS, samples

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        return _part_of(sample_id)

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> AtisRecords | EventStream:
        return open_records(data, self.sensor_size, sample.location)
