"""Small data sets in the published layouts, written byte by byte, and the real ones where they are at hand."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

REAL_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

Event = tuple[int, int, int, int]  # x, y, t, p
EVENTS = [(3, 4, 10, 1), (239, 179, 20, 0), (0, 0, 30, 1)]


class Make:
    """The bytes of the formats that the readers read."""

    @staticmethod
    def records(events: Sequence[Event]) -> bytes:
        return b"".join(bytes((x, y, (p << 7) | (t >> 16), (t >> 8) & 0xFF, t & 0xFF)) for x, y, t, p in events)

    @staticmethod
    def annotation(corners: Sequence[tuple[int, int]]) -> bytes:
        outline = [(1, 1), (2, 2), (3, 1)]
        return b"".join(
            struct.pack("<hh", 2, len(points)) + b"".join(struct.pack("<hh", *point) for point in points)
            for points in (corners, outline)
        )

    @staticmethod
    def image(image: Image.Image, format: str = "JPEG") -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format)
        return buffer.getvalue()

    @staticmethod
    def zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    @staticmethod
    def tar(files: Mapping[str, bytes], *, gzipped: bool = True) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return gzip.compress(buffer.getvalue(), mtime=0) if gzipped else buffer.getvalue()

    @staticmethod
    def idx(array: np.ndarray) -> bytes:
        header = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
        return header + array.astype(np.uint8).tobytes()

    @staticmethod
    def mat5(variables: Mapping[str, object], *, compressed: bool = True) -> bytes:
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, dict(variables), do_compression=compressed)
        return buffer.getvalue()

    @staticmethod
    def mat73(variables: Mapping[str, object], **dataset_options: object) -> bytes:
        """As MATLAB writes it: a text block of 512 bytes, then an HDF5 file."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", userblock_size=512) as file:
            for name, values in variables.items():
                file.create_dataset(name, data=values, **dataset_options)
        content = bytearray(buffer.getvalue())
        content[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        return bytes(content)

    @staticmethod
    def files(root: Path, files: Mapping[str, bytes]) -> Path:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs the real N-MNIST and MNIST files in {REAL_DATA}")
    return REAL_DATA


@pytest.fixture
def ncaltech_files() -> dict[str, bytes]:
    """Four class folders, one of them left out by the reader; one annotated recording."""
    return {
        "Caltech101/accordion/image_0002.bin": Make.records(EVENTS),
        "Caltech101/accordion/image_0001.bin": Make.records(EVENTS[:2]),
        "Caltech101/BACKGROUND_Google/image_0001.bin": Make.records(EVENTS[:1]),
        "Caltech101/Faces/image_0001.bin": Make.records(EVENTS),
        "Caltech101/Faces_easy/image_0001.bin": Make.records(EVENTS),
        "Caltech101_annotations/accordion/annotation_0001.bin": Make.annotation([(5, 7), (90, 7), (90, 60), (5, 60)]),
    }
