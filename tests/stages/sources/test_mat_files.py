from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import mat
from dvs_transfer.stages.sources.mat import read_mat

NAMES = ("x", "p")
X = np.arange(300, dtype=np.uint16).reshape(-1, 1)
P = np.where(X % 2, 1, -1).astype(np.int8)


@pytest.mark.parametrize("version", ["mat5", "mat5 plain", "mat73", "mat73 deflated", "hdf5 without a user block"])
def test_both_versions_give_the_variables_as_stored(make: Any, version: str) -> None:
    variables = {"x": X, "other": np.eye(3), "p": P}
    data = {
        "mat5": lambda: make.mat5(variables),
        "mat5 plain": lambda: make.mat5(variables, compressed=False),
        "mat73": lambda: make.mat73(variables),
        "mat73 deflated": lambda: make.mat73(variables, compression="gzip", shuffle=True, chunks=True),
        "hdf5 without a user block": lambda: make.mat73(variables)[512:],
    }[version]()
    found = read_mat(data, NAMES, "1.mat")
    assert list(found) == list(NAMES)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["p"], P)
    assert found["p"].dtype == np.int8


ARRAYS = st.tuples(
    st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]),
    st.lists(st.integers(0, 127), max_size=30),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None)
@given(ARRAYS)
def test_mat5_equals_scipy(make: Any, array: tuple[str, list[int], bool, bool]) -> None:
    dtype, values, column, compressed = array
    stored = np.array(values, dtype=dtype).reshape((-1, 1) if column else (1, -1))
    data = make.mat5({"a_long_name_before": np.eye(2), "x": stored, "text": "abc"}, compressed=compressed)
    expected = scipy.io.loadmat(io.BytesIO(data))["x"]
    found = read_mat(data, ("x",), "1.mat")["x"]
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)


def test_a_big_endian_file() -> None:
    """As MATLAB wrote it on Solaris and PowerPC; swapping every number of a file gives one."""
    values = np.array([1.5, -2.0])
    parts = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2) + struct.pack(">HH4s", 1, 1, b"x")
    parts += struct.pack(">II", 9, 16) + values.astype(">f8").tobytes()
    data = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(parts)) + parts
    np.testing.assert_array_equal(read_mat(data, ("x",), "1.mat")["x"], [values])


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_a_missing_variable_is_named(make: Any, kind: str) -> None:
    with pytest.raises(SourceError, match=r"1\.mat: .*has no variable p \(found x\)"):
        read_mat(getattr(make, kind)({"x": X}), NAMES, "1.mat")


@pytest.mark.parametrize("value", ["text", {"a": 1}, np.array([[1, "a"]], dtype=object), X.astype(complex)])
def test_variables_that_are_no_numbers_are_refused(make: Any, value: Any) -> None:
    with pytest.raises(SourceError, match="x is no array of real numbers"):
        read_mat(make.mat5({"x": value, "p": P}), NAMES, "1.mat")


@pytest.mark.parametrize("data", [b"", b"x,y,ts,p", bytes(600), b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_mat_file_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"1\.mat: (is no MAT|cannot be decoded)"):
        read_mat(data, NAMES, "1.mat")


# Bombs ----------------------------------------------------------------------------------------------------------------


def mat5_header() -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def matrix(name: bytes, shape: tuple[int, int], values: np.ndarray) -> bytes:
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    dimensions = struct.pack("<IIii", 5, 8, *shape)
    parts = flags + dimensions + struct.pack("<II", 1, len(name)) + name.ljust(8, b"\0")
    parts += struct.pack("<II", 9, values.nbytes) + values.tobytes()
    return struct.pack("<II", 14, len(parts)) + parts


def test_a_zlib_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "MAX_BYTES", 1 << 22)
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(SourceError, match="variable at byte 128: the file inflates to more than the limit of 4194304"):
        read_mat(mat5_header() + struct.pack("<II", 15, len(bomb)) + bomb, NAMES, "1.mat")


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((1 << 15, 1 << 15), "announces 32768 x 32768 values, the limit"),
        ((2, 2), "announces 2 x 2 values of float64, 16 bytes are there"),
        ((-1, -2), "announces -1 x -2 values"),
    ],
)
def test_dimensions_that_lie_are_refused(shape: tuple[int, int], problem: str) -> None:
    data = mat5_header() + matrix(b"x", shape, np.zeros(2))
    with pytest.raises(SourceError, match=problem):
        read_mat(data, ("x",), "1.mat")


def test_a_variable_that_is_there_twice_is_refused() -> None:
    one = matrix(b"x", (1, 2), np.zeros(2))
    assert read_mat(mat5_header() + one, ("x",), "1.mat")["x"].shape == (1, 2)
    with pytest.raises(SourceError, match="as one before"):
        read_mat(mat5_header() + one + one, ("x",), "1.mat")


def test_a_flood_of_variables_is_refused() -> None:
    empty = struct.pack("<II", 14, 0)
    with pytest.raises(SourceError, match="more than 1000 variables"):
        read_mat(mat5_header() + empty * 1_000_000, ("x",), "1.mat")
    with pytest.raises(SourceError, match="has no variable x"):
        read_mat(
            mat5_header() + struct.pack("<II", 14, 8_000_000) + struct.pack("<II", 6, 0) * 1_000_000, ("x",), "1.mat"
        )


def test_huge_hdf5_dimensions_are_refused_before_they_are_allocated() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("x", shape=(1 << 34,), dtype="f8", chunks=(1024,))
    with pytest.raises(SourceError, match="announces 17179869184 values"):
        read_mat(buffer.getvalue(), ("x",), "1.mat")


def test_a_deflated_hdf5_chunk_that_lies_is_refused() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        dataset = file.create_dataset("x", shape=(1024,), dtype="u1", chunks=(1024,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(50_000_000)))
    with pytest.raises(SourceError, match="inflates to more than its 1024 bytes"):
        read_mat(buffer.getvalue(), ("x",), "1.mat")


def test_other_hdf5_filters_are_refused(make: Any) -> None:
    with pytest.raises(SourceError, match="filters"):
        read_mat(make.mat73({"x": X}, compression="lzf", chunks=True), ("x",), "1.mat")


def test_hdf5_links_and_data_in_other_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = X[:, 0]
    makers = {
        "ExternalLink": lambda file: file.__setitem__("x", h5py.ExternalLink(str(tmp_path / "other.h5"), "x")),
        "SoftLink": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        "external or virtual": lambda file: file.create_dataset("x", (64,), "u1", external=[(str(secret), 0, 64)]),
        "virtual": lambda file: file.create_virtual_dataset("x", virtual_layout(tmp_path / "other.h5")),
    }
    for problem, make_dataset in makers.items():
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            make_dataset(file)
        with pytest.raises(SourceError, match=problem):
            read_mat(buffer.getvalue(), ("x",), "1.mat")


def virtual_layout(source: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape=(300,), dtype="u2")
    layout[:] = h5py.VirtualSource(str(source), "x", shape=(300,))
    return layout


def test_a_group_in_place_of_a_variable_is_refused() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("x")
    with pytest.raises(SourceError, match="no array of numbers"):
        read_mat(buffer.getvalue(), ("x",), "1.mat")


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("mat5", 150), ("mat73", 15)])
def test_every_truncation_is_noticed(make: Any, kind: str, count: int) -> None:
    data = getattr(make, kind)({"x": X, "p": P})
    for size in range(0, len(data) - 1, max(1, len(data) // count)):
        with pytest.raises(SourceError, match=r"1\.mat: "):
            read_mat(data[:size], NAMES, "1.mat")


@pytest.mark.parametrize("options", [{"compressed": True}, {"compressed": False}])
def test_a_flipped_byte_of_mat5_is_an_error_or_harmless(make: Any, options: Any) -> None:
    whole = make.mat5({"x": X, "p": P}, **options)

    @settings(max_examples=300, deadline=None)
    @given(offset=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def flip(offset: int, value: int) -> None:
        data = bytearray(whole)
        data[offset] = value
        with contextlib.suppress(SourceError):  # any other exception fails
            read_mat(bytes(data), NAMES, "1.mat")

    flip()


def test_a_flipped_byte_of_mat73_is_an_error_or_harmless(make: Any) -> None:
    whole = make.mat73({"x": X, "p": P}, compression="gzip", chunks=True)

    @settings(max_examples=30, deadline=None)  # each that is refused costs a process
    @given(offset=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def flip(offset: int, value: int) -> None:
        data = bytearray(whole)
        data[offset] = value
        with contextlib.suppress(SourceError):  # any other exception fails
            read_mat(bytes(data), NAMES, "1.mat")

    flip()
