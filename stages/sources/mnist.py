"""MNIST: handwritten digits (LeCun, Cortes, Burges) in IDX files.

IDX: two zero bytes, the type of the values (8: uint8), the number of dimensions, each dimension as uint32 big-endian,
then the values, last dimension fastest.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ...cache.errors import SourceError
from .base import Sample, UInt8Array
from .layout import Place, open_place
from .reader import Reader

SIDE: Final = 28  # pixels
_FILES: Final = [f"{split}-{part}-ubyte" for split in ("train", "t10k") for part in ("images-idx3", "labels-idx1")]
_MAX_BYTES: Final = 1 << 26  # of an IDX file; 60,000 digits have 47 MB


class Mnist(Reader):
    """Grey digits of 28 x 28 pixels. Ids count from 1 in the file's order: "<digit>/train-00001" or "t10k-00001"."""

    name = "mnist"
    kind = "images"
    title = "MNIST"
    origin = "https://ossci-datasets.s3.amazonaws.com/mnist/ (`dvs-transfer download mnist`)"
    licence = "CC BY-SA 3.0"
    layout = "train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz], those of t10k, or both, here or in raw/"
    num_samples = 70_000
    num_classes = 10

    def __init__(self, path: Path) -> None:
        self._images: dict[str, UInt8Array] = {}
        super().__init__(path)

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        start = open_place(self.path)
        place = self._place = start.child("raw") if "raw" in start.children()[0] else start
        samples: list[Sample] = []
        for split in ("train", "t10k"):
            samples += self._open_split(split, place)
        if not samples:
            raise self.wrong_layout(place)
        return tuple(str(digit) for digit in range(10)), tuple(sorted(samples, key=lambda s: (s.label, s.sample_id)))

    def _searched_places(self) -> Iterable[Place]:
        return (self._place,)

    def _is_used(self, place: Place, name: str) -> bool:
        """Also of what has nothing to do with MNIST: its folder is often a general one."""
        return "ubyte" not in name or name.removesuffix(".gz") in _FILES

    def _open_split(self, split: str, place: Place) -> list[Sample]:
        image_file, label_file = (_find_file(place, f"{split}-{part}-ubyte") for part in ("images-idx3", "labels-idx1"))
        if image_file is None and label_file is None:
            return []
        if image_file is None or label_file is None:
            raise SourceError(f"{place}: {split} has {image_file or label_file} alone; fetch its images and its labels")
        location = place.where(image_file)
        images = parse_idx(place.read(image_file), 3, location)
        labels = parse_idx(place.read(label_file), 1, place.where(label_file))
        _check_split(images, labels, location, place.where(label_file))
        samples = []
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), start=1):
            sample = Sample(f"{label}/{split}-{number:05d}", label, f"{location}, image {number}")
            self._images[sample.sample_id] = image
            samples.append(sample)
        return samples

    def read_bytes(self, sample: Sample) -> bytes:
        return self._images[sample.sample_id].tobytes()

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        grey = np.frombuffer(data, dtype=np.uint8)
        if len(grey) != SIDE * SIDE:
            raise SourceError(f"{sample.location}: {len(data)} bytes, expected {SIDE} x {SIDE}")
        return np.repeat(grey.reshape(SIDE, SIDE, 1), 3, axis=2)


def parse_idx(data: bytes, num_dimensions: int, location: str) -> UInt8Array:
    """The array of an IDX file, plain or gzipped. Raises SourceError when header and length do not agree."""
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data, location)
    expected_magic = (0x08 << 8) | num_dimensions
    header_bytes = 4 + 4 * num_dimensions
    magic = int.from_bytes(data[:4], "big")
    if len(data) < header_bytes or magic != expected_magic:
        raise SourceError(
            f"{location}: starts with {data[:4].hex() or 'nothing'}, expected {expected_magic:08x}, an IDX file of "
            f"uint8 with {num_dimensions} dimensions; fetch it again"
        )
    shape = struct.unpack_from(f">{num_dimensions}I", data, 4)
    if math.prod(shape) != len(data) - header_bytes or max(shape) > _MAX_BYTES:  # one may be 0, the others anything
        raise SourceError(
            f"{location}: {len(data) - header_bytes} values after byte {header_bytes}, but the header announces "
            f"{' x '.join(map(str, shape))} = {math.prod(shape)}; the file is truncated or damaged: fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _gunzip(data: bytes, location: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            plain = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{location}: is not a whole gzip file ({error}); fetch it again") from error
    if len(plain) > _MAX_BYTES:
        raise SourceError(f"{location}: inflates to more than {_MAX_BYTES} bytes, the limit; it is not a file of MNIST")
    return plain


def _find_file(place: Place, stem: str) -> str | None:
    names = place.children()[1]
    return next((name for name in (stem, f"{stem}.gz") if name in names), None)


def _check_split(images: UInt8Array, labels: UInt8Array, image_location: str, label_location: str) -> None:
    if images.shape[1:] != (SIDE, SIDE):
        raise SourceError(
            f"{image_location}: images of {images.shape[1]} x {images.shape[2]}, expected {SIDE} x {SIDE}"
        )
    if len(images) != len(labels):
        raise SourceError(f"{label_location}: {len(labels)} labels for {len(images)} images; fetch both again")
    wrong = np.flatnonzero(labels > 9)
    if len(wrong):
        raise SourceError(
            f"{label_location}: label {labels[wrong[0]]} of image {wrong[0] + 1} (byte {8 + wrong[0]}) is no digit; "
            "fetch it again"
        )
