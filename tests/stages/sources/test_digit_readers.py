from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import open_source, random_access
from dvs_transfer.stages.sources.digits import parse_idx

DIGITS = tuple("0123456789")


def digit_images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


# N-MNIST --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nmnist_files(make: Any) -> dict[str, bytes]:
    data = make.records([(1, 2, 3, 1), (33, 33, 4, 0)])
    return dict.fromkeys(("Train/3/00007.bin", "Train/0/00002.bin", "Test/3/00007.bin"), data)


def test_ids_name_the_recorded_digit_of_mnist(tmp_path: Path, make: Any, nmnist_files: dict[str, bytes]) -> None:
    source = open_source("nmnist", make.files(tmp_path, nmnist_files))
    assert source.class_names == DIGITS
    assert [(s.sample_id, s.label) for s in source.samples] == [
        ("0/train-00002", 0),
        ("3/t10k-00007", 3),
        ("3/train-00007", 3),
    ]
    first = source.samples[0]
    assert judged(source.decode(first, source.read_bytes(first))).x.tolist() == [1, 33]


def test_one_split_by_its_own_path_and_from_archives(tmp_path: Path, make: Any, nmnist_files: Any) -> None:
    make.files(tmp_path, nmnist_files)
    assert [s.sample_id for s in open_source("nmnist", tmp_path / "Test").samples] == ["3/t10k-00007"]
    make.files(tmp_path / "zips", {
        f"{split}.zip": make.zip({n: d for n, d in nmnist_files.items() if n.startswith(split)})
        for split in ("Train", "Test")
    })  # fmt: skip
    from_zips, from_folder = open_source("nmnist", tmp_path / "zips"), open_source("nmnist", tmp_path)
    assert [s.sample_id for s in from_zips.samples] == [s.sample_id for s in from_folder.samples]
    assert len(open_source("nmnist", tmp_path / "zips" / "Train.zip").samples) == 2


def test_an_event_outside_the_sensor_is_refused(tmp_path: Path, make: Any) -> None:
    source = open_source("nmnist", make.files(tmp_path, {"Train/1/00001.bin": make.records([(34, 0, 0, 1)])}))
    first = source.samples[0]
    with pytest.raises(SourceError, match="34 x 34"):
        judged(source.decode(first, source.read_bytes(first)))


def test_the_real_recordings(real_data: Path) -> None:
    source = open_source("nmnist", real_data / "NMNIST")
    assert len(source.samples) == 600
    assert [sum(s.label == label for s in source.samples) for label in range(10)] == [
        len(list((real_data / "NMNIST" / "Train" / digit).glob("*.bin"))) for digit in DIGITS
    ]


# MNIST ----------------------------------------------------------------------------------------------------------------


def mnist_files(make: Any, labels: list[int], *, split: str = "t10k", gzipped: bool = True) -> dict[str, bytes]:
    ending = ".gz" if gzipped else ""
    pack = gzip.compress if gzipped else bytes
    return {
        f"{split}-images-idx3-ubyte{ending}": pack(make.idx(digit_images(len(labels)))),
        f"{split}-labels-idx1-ubyte{ending}": pack(make.idx(np.array(labels))),
    }


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("folder", ["raw", "."])
def test_digits_of_both_splits(tmp_path: Path, make: Any, folder: str, gzipped: bool) -> None:
    make.files(tmp_path / folder, mnist_files(make, [7, 0, 7], gzipped=gzipped))
    make.files(tmp_path / folder, mnist_files(make, [7], split="train", gzipped=gzipped))
    source = open_source("mnist", tmp_path)
    assert source.class_names == DIGITS
    ids = ["0/t10k-00002", "7/t10k-00001", "7/t10k-00003", "7/train-00001"]
    assert [s.sample_id for s in source.samples] == ids
    data = source.read_bytes(source.samples[0])
    assert data == digit_images(3)[1].tobytes()
    image = source.decode(source.samples[0], data)
    assert (image.shape, image.dtype) == ((28, 28, 3), np.uint8)
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], digit_images(3)[1])


def test_the_real_digits(real_data: Path) -> None:
    source = open_source("mnist", real_data / "MNIST")
    assert len(source.samples) == 9_900
    assert source.decode(source.samples[0], source.read_bytes(source.samples[0])).max() > 200


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "damage", "problem"),
    [
        (LABELS, lambda data: b"\0\0\x08\x03" + data[4:], "starts with 00000803, expected 00000801"),
        (LABELS, lambda data: data[:-1], "2 values after byte 8, but the header announces 3"),
        (LABELS, lambda data: data[:-1] + b"\x0a", r"label 10 of image 3 \(byte 10\)"),
        (LABELS, lambda data: b"", "starts with nothing"),
        (IMAGES, lambda data: data[:15], "starts with 00000803"),
        (IMAGES, lambda data: gzip.compress(data)[:-9], "compressed data end after"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, make: Any, file: str, damage: Any, problem: str) -> None:
    files = mnist_files(make, [1, 2, 3], gzipped=False)
    files[file] = damage(files[file])
    with pytest.raises(SourceError, match=f"{file}: .*{problem}"):
        open_source("mnist", make.files(tmp_path, files))


def test_images_without_labels_are_refused(tmp_path: Path, make: Any) -> None:
    files = mnist_files(make, [1, 2, 3], gzipped=False)
    del files[LABELS]
    with pytest.raises(SourceError, match=f"t10k has {IMAGES} alone"):
        open_source("mnist", make.files(tmp_path, files))


def test_sizes_and_numbers_that_do_not_match(tmp_path: Path, make: Any) -> None:
    files = mnist_files(make, [1, 2], gzipped=False)
    with pytest.raises(SourceError, match="3 labels for 2 images"):
        open_source("mnist", make.files(tmp_path, files | {"t10k-labels-idx1-ubyte": make.idx(np.array([1, 2, 3]))}))
    with pytest.raises(SourceError, match="images of 28 x 27, expected 28 x 28"):
        open_source("mnist", make.files(tmp_path, files | {"t10k-images-idx3-ubyte": make.idx(np.zeros((2, 28, 27)))}))


def test_labels_of_one_digit_are_no_bomb(make: Any) -> None:
    assert len(parse_idx(gzip.compress(make.idx(np.full(60_000, 7))), 1, "labels.gz")) == 60_000


def test_a_gzip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="200 times as many"):
        parse_idx(gzip.compress(bytes(10_000_000)), 3, "images.gz")
    monkeypatch.setattr(random_access, "MAX_READ_BYTES", 1 << 20)
    monkeypatch.setattr(random_access, "_CHECKPOINT_BYTES", 1 << 19)
    with pytest.raises(SourceError, match="the limit is 1048576"):
        parse_idx(gzip.compress(np.random.default_rng(0).integers(0, 4, 2_000_000, np.uint8).tobytes()), 3, "images.gz")


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
def test_any_idx_file_comes_back(make: Any, shape: list[int], gzipped: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = make.idx(array)
    np.testing.assert_array_equal(parse_idx(gzip.compress(data) if gzipped else data, len(shape), "a"), array)


def test_dimensions_beyond_any_array_are_refused() -> None:
    """Found by `make fuzz`: one of them 0, so that the number of values agrees."""
    data = struct.pack(">4I", 0x0803, 0xFFFF_FFFF, 0xFFFF_FFFF, 0)
    with pytest.raises(SourceError, match="announces 4294967295 x 4294967295 x 0"):
        parse_idx(data, 3, "idx")
