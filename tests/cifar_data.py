"""Small files in the formats of CIFAR10-DVS and CIFAR-10, written after their specifications."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"

Record = tuple[int, int]  # address, time


def aedat2(records: Sequence[Record], header: bytes = HEADER) -> bytes:
    return header + b"".join(struct.pack(">II", address, time & 0xFFFF_FFFF) for address, time in records)


def dvs128(x: int, y: int, is_off: int) -> int:
    """The address in which jAER's DVS128 tells its column and row; 0 is ON."""
    return y << 8 | x << 1 | is_off


def batch(pixels: NDArray[np.uint8], labels: Sequence[int]) -> bytes:
    """A batch as cPickle of Python 2 writes it (protocol 2), with memo and all that CIFAR-10's have."""
    numbers = count(1)
    shape = struct.pack("<cHcH", b"M", len(pixels), b"M", pixels.shape[1])
    return b"".join(
        (
            *(b"\x80\x02}", _put(numbers), b"("),
            *(_string(b"batch_label", numbers), _string(b"training batch 1 of 5", numbers)),
            *(_string(b"labels", numbers), b"]", _put(numbers), b"("),
            *(b"K" + bytes([label]) for label in labels),
            *(b"e", _string(b"data", numbers), b"cnumpy.core.multiarray\n_reconstruct\n", _put(numbers)),
            *(b"cnumpy\nndarray\n", _put(numbers), b"K\x00\x85U\x01b\x87R", _put(numbers)),
            *(b"(K\x01", shape, b"\x86", b"cnumpy\ndtype\n", _put(numbers), b"U\x02u1K\x00K\x01\x87R", _put(numbers)),
            *(b"(K\x03U\x01|NNN", 2 * struct.pack("<ci", b"J", -1), b"K\x00tb\x89", _string(pixels.tobytes()), b"tb"),
            *(_string(b"filenames", numbers), b"]", _put(numbers), b"("),
            *(_string(b"photo_%d.png" % number, numbers) for number in range(len(pixels))),
            b"eu.",
        )
    )


def _put(numbers: Iterator[int]) -> bytes:
    number = next(numbers)
    return b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number)


def _string(text: bytes, numbers: Iterator[int] | None = None) -> bytes:
    head = b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + struct.pack("<i", len(text))
    return head + text + (b"" if numbers is None else _put(numbers))


def random_pixels(num: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num, 3072), dtype=np.uint8)


def recording(seed: int, num_events: int = 400) -> bytes:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 300_000, num_events))
    return aedat2([(dvs128(*rng.integers(0, 128, 2).tolist(), int(rng.integers(2))), int(time)) for time in times])


def write_cifar10dvs(folder: Path, per_class: int) -> Path:
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            (folder / name / f"cifar10_{name}_{number}.aedat").write_bytes(recording(100 * label + number))
    return folder


def write_cifar10(folder: Path, per_class: int) -> Path:
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    labels = list(range(10)) * per_class
    (batches / "test_batch").write_bytes(batch(random_pixels(len(labels)), labels))
    return folder
