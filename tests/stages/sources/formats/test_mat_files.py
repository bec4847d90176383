"""MAT files of both versions: as scipy reads them, in pieces, and every lie and damage refused."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import random_access
from dvs_transfer.stages.sources.base import Events, EventStream
from dvs_transfer.stages.sources.formats import columnar, columns
from dvs_transfer.stages.sources.formats.columns import Unit, join
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import InMemory

N = 300
COLUMNS: Mapping[str, Any] = {
    "x": np.arange(N, dtype=np.uint16).reshape(-1, 1),
    "other": np.eye(3),
    "y": np.arange(N, 0, -1).astype(np.uint8).reshape(1, -1),
    "ts": 1000.0 + 10 * np.arange(N).reshape(-1, 1),
    "p": np.where(np.arange(N) % 2, 1, -1).astype(np.int8)[:, None],
}


def read(data: bytes, unit: Unit = "us") -> Events:
    return judged(open_recording(InMemory(data, "1.mat"), ".mat", unit), location="1.mat")


def assert_read(data: bytes) -> None:
    events = read(data)
    for column, name in zip("xytp", ("x", "y", "ts", "p"), strict=True):
        expected = COLUMNS[name].reshape(-1)
        np.testing.assert_array_equal(getattr(events, column), expected == 1 if name == "p" else expected)


@pytest.mark.parametrize("version", ["mat5", "mat5 plain", "mat73", "mat73 deflated", "hdf5 without a user block"])
def test_both_versions_give_the_same_events(make: Any, version: str) -> None:
    assert_read(
        {
            "mat5": lambda: make.mat5(COLUMNS),
            "mat5 plain": lambda: make.mat5(COLUMNS, compressed=False),
            "mat73": lambda: make.mat73(COLUMNS),
            "mat73 deflated": lambda: make.mat73(COLUMNS, compression="gzip", shuffle=True, chunks=True),
            "hdf5 without a user block": lambda: make.mat73(COLUMNS)[512:],
        }[version]()
    )


ARRAYS = st.tuples(
    st.sampled_from(["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]),
    st.lists(st.integers(0, 127), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None)
@given(ARRAYS)
def test_mat5_equals_scipy(make: Any, array: tuple[str, list[int], bool, bool]) -> None:
    dtype, values, column, compressed = array
    stored = np.array(values, dtype=dtype).reshape((-1, 1) if column else (1, -1))
    others = {name: np.ones(len(values)) for name in "ytp"}
    data = make.mat5({"a_long_name_before": np.eye(2), "x": stored, "text": "abc", **others}, compressed=compressed)
    np.testing.assert_array_equal(read(data).x, scipy.io.loadmat(io.BytesIO(data))["x"].reshape(-1))


def test_a_big_endian_file() -> None:
    """As MATLAB wrote it on Solaris and PowerPC; swapping every number of a file gives one."""
    data = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    for name, values in (("x", [5, 6]), ("y", [7, 8]), ("t", [1.0, 258.0]), ("p", [0, 1])):
        parts = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2)
        parts += struct.pack(">HH4s", 1, 1, name.encode()) + struct.pack(">IIdd", 9, 16, *values)
        data += struct.pack(">II", 14, len(parts)) + parts
    events = read(data)
    assert (events.x.tolist(), events.t.tolist()) == ([5, 6], [1, 258])


@pytest.mark.parametrize("compressed", [True, False])
def test_a_large_file_is_read_in_pieces(make: Any, compressed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held as a whole is neither the recording nor a compressed variable."""
    monkeypatch.setattr(columnar, "PIECE_EVENTS", 70)
    monkeypatch.setattr(columns, "HELD_EVENTS", 100)
    monkeypatch.setattr(random_access, "_CHECKPOINT_BYTES", 100)
    data = make.mat5(COLUMNS, compressed=compressed)
    stream = open_recording(InMemory(data, "1.mat"), ".mat", "us")
    assert isinstance(stream, EventStream)
    for _ in range(2):
        found = list(stream.pieces())
        assert [len(piece) for piece in found] == [70, 70, 70, 70, 20]
        np.testing.assert_array_equal(join(found).t, COLUMNS["ts"][:, 0])


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_a_missing_variable_is_told(make: Any, kind: str) -> None:
    with pytest.raises(SourceError, match=r"1\.mat: .*x, y, t and p"):
        read(getattr(make, kind)({"x": COLUMNS["x"], "ts": COLUMNS["ts"]}))


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_two_variables_that_may_be_one_column_are_told(make: Any, kind: str) -> None:
    with pytest.raises(SourceError, match=r"1\.mat: .*ts and time may both be t|1\.mat: .*time and ts may both be t"):
        read(getattr(make, kind)({**COLUMNS, "time": COLUMNS["ts"]}))


@pytest.mark.parametrize("value", ["text", {"a": 1}, np.array([[1, "a"]], dtype=object), COLUMNS["x"].astype(complex)])
def test_variables_that_are_no_numbers_are_refused(make: Any, value: Any) -> None:
    with pytest.raises(SourceError, match="x is no array of real numbers"):
        read(make.mat5({**COLUMNS, "x": value}))


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_tables_are_no_columns(make: Any, kind: str) -> None:
    with pytest.raises(SourceError, match=r"x has the shape .*expected"):
        read(getattr(make, kind)({**COLUMNS, "x": np.ones((10, 30))}))


def test_fractions_of_whole_microseconds_are_refused(make: Any) -> None:
    """Seconds in a data set whose times are in us."""
    data = make.mat5({**COLUMNS, "ts": COLUMNS["ts"] * 1e-6})
    assert read(data, "s").t.tolist() == COLUMNS["ts"][:, 0].tolist()
    with pytest.raises(SourceError, match=r"event 0 has t=0\.001, expected a whole number"):
        read(data, "whole us")


# Bombs ----------------------------------------------------------------------------------------------------------------


def mat5_file(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def matrix(name: bytes, shape: tuple[int, int] = (1, 2), values: Any = (0.0, 1.0), class_number: int = 6) -> bytes:
    numbers = np.array(values, "<f8")
    parts = struct.pack("<IIII", 6, 8, class_number, 0) + struct.pack("<IIii", 5, 8, *shape)
    parts += struct.pack("<II", 1, len(name)) + name.ljust(-(-len(name) // 8) * 8, b"\0")
    parts += struct.pack("<II", 9, numbers.nbytes) + numbers.tobytes()
    return struct.pack("<II", 14, len(parts)) + parts


def deflated(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return struct.pack("<II", 15, len(packed)) + packed


def with_dimensions(count: int) -> bytes:
    """x with so many dimensions of 2^31 - 1, whose product takes the square of their number."""
    parts = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<II", 5, 4 * count) + b"\xff\xff\xff\x7f" * count
    parts += struct.pack("<II", 1, 1) + b"x".ljust(8, b"\0") + struct.pack("<II", 9, 0)
    return struct.pack("<II", 14, len(parts)) + parts


OTHERS = (matrix(b"y"), matrix(b"t"), matrix(b"p"))


def test_a_file_made_by_hand_is_read() -> None:
    assert read(mat5_file(matrix(b"x"), *OTHERS)).x.tolist() == [0, 1]
    assert read(mat5_file(deflated(matrix(b"x")), *OTHERS)).x.tolist() == [0, 1]


def test_times_of_a_whole_type_are_microseconds_however_they_are_stored() -> None:
    times = matrix(b"t", values=(3.0, 5.0), class_number=12)
    events = read(mat5_file(matrix(b"x"), OTHERS[0], times, OTHERS[2]), "auto")
    assert (events.t.tolist(), events.guessed_unit) == ([3, 5], "us")


def test_columns_of_one_value_may_be_as_compressible_as_they_are(make: Any) -> None:
    """A recording of a single polarity: 100,000 equal bytes deflate to a thousandth."""
    count = 100_000
    columns = {"x": np.arange(count) % 7, "y": np.zeros(count, np.uint8), "t": np.arange(count), "p": np.ones(count)}
    file = io.BytesIO()
    scipy.io.savemat(file, columns, do_compression=True)
    events = read(file.getvalue())
    assert (len(events), events.p.min(), events.y.max()) == (count, 1, 0)


@pytest.mark.parametrize(
    ("element", "problem"),
    [
        (matrix(b"x", (1 << 15, 1 << 15)), "x announces 32768 x 32768 values of float64, 16 bytes are there"),
        (matrix(b"x", (3, 1)), "x announces 3 x 1 values"),
        (matrix(b"x", (-1, -2)), "x announces -1 x -2 values"),
        (deflated(matrix(b"x") + bytes(50_000_000)), "200 times as many"),
        (deflated(matrix(b"x")[:-1]), "bytes inflated, .* announced"),
        (deflated(struct.pack("<II", 14, 50_000_000) + matrix(b"x")[8:] + bytes(50_000_000)), "200 times as many"),
        (deflated(b"abc"), "compressed data are truncated|compressed data end"),
        (struct.pack("<II", 15, 8) + bytes(8), "variable at byte 128: damaged"),
        (struct.pack("<II", 9, 8) + bytes(8), "is of type 9, expected a matrix"),
        (matrix(b"x") + matrix(b"x"), "has the name x, as one before"),
        (matrix(b"x") + struct.pack("<II", 14, 0) * 100_000, "more than 1000 variables"),
        (with_dimensions(1 << 21), "x, y, t and p, found .at byte 128"),
        (matrix(b"x" * 5_000_000), "x, y, t and p, found .at byte 128"),
        (matrix(b"\x1b[2J\n"), r"found .x1b\[2J.n, y, t, p"),
        (matrix(b"x", class_number=11, values=(1.0, 70000.0)), "none of the announced uint16"),
        (matrix(b"x", class_number=11, values=(0.5, 1.0)), "none of the announced uint16"),
        (matrix(b"x", class_number=12, values=(np.nan, 1.0)), "none of the announced int32"),
        (struct.pack("<II", 14, 800_000) + struct.pack("<II", 6, 0) * 100_000, "x, y, t and p, found .at byte 128"),
    ],
)
def test_variables_that_lie_are_refused(element: bytes, problem: str) -> None:
    with pytest.raises(SourceError, match=rf"1\.mat: .*{problem}"):
        read(mat5_file(element, *OTHERS))


def hdf5(**options: Any) -> tuple[io.BytesIO, h5py.File]:
    """A file with the columns y, ts and p."""
    buffer = io.BytesIO()
    file = h5py.File(buffer, "w", **options)
    for name in ("y", "ts", "p"):
        file[name] = COLUMNS[name]
    return buffer, file


def test_a_deflated_hdf5_chunk_that_lies_is_refused() -> None:
    buffer, file = hdf5()
    with file:
        dataset = file.create_dataset("x", shape=(N,), dtype="u1", chunks=(N,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(50_000_000)))
    with pytest.raises(SourceError, match=r"1\.mat: .*x stores a chunk of 300 bytes in \d+"):
        read(buffer.getvalue())


@pytest.mark.parametrize("options", [{}, {"chunks": (100,)}, {"chunks": (100,), "compression": "gzip"}])
def test_values_that_were_never_written_are_no_events(options: Any) -> None:
    buffer, file = hdf5()
    with file:
        file.create_dataset("x", shape=(N,), dtype="u2", **options)
    with pytest.raises(SourceError, match=r"1\.mat: .*x (was never written|has 0 of its 3 chunks)"):
        read(buffer.getvalue())
    buffer, file = hdf5()
    with file:
        file.create_dataset("x", shape=(N,), dtype="u2", **{"chunks": (100,), **options})[:200] = 7
    with pytest.raises(SourceError, match="x has 2 of its 3 chunks"):
        read(buffer.getvalue())


def test_a_group_in_place_of_a_variable_is_refused() -> None:
    buffer, file = hdf5()
    with file:
        file.create_group("x")
    with pytest.raises(SourceError, match="x is no array"):
        read(buffer.getvalue())


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "count"), [("mat5", 150), ("mat73", 15)])
def test_every_truncation_is_noticed(make: Any, kind: str, count: int) -> None:
    data = getattr(make, kind)(COLUMNS)
    for size in range(0, len(data) - 1, max(1, len(data) // count)):
        with pytest.raises(SourceError, match=r"1\.mat: "):
            read(data[:size])


@pytest.mark.parametrize("options", [{"compressed": True}, {"compressed": False}])
def test_a_flipped_byte_of_mat5_is_an_error_or_harmless(make: Any, options: Any) -> None:
    whole = make.mat5(COLUMNS, **options)

    @settings(max_examples=300, deadline=None)
    @given(offset=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def flip(offset: int, value: int) -> None:
        data = bytearray(whole)
        data[offset] = value
        with contextlib.suppress(SourceError):  # any other exception fails
            events = read(bytes(data))
            assert len(events) == N
            assert events.x.max() < 1 << 16

    flip()


def test_a_flipped_byte_of_a_compressed_variable_is_never_data(make: Any) -> None:
    """zlib's checksum is read to its end, also of a variable whose values are all there before it."""
    whole = make.mat5(COLUMNS)
    for offset in range(128, len(whole)):
        data = bytearray(whole)
        data[offset] ^= 0x10
        with contextlib.suppress(SourceError):
            events = read(bytes(data))
            np.testing.assert_array_equal(events.t, COLUMNS["ts"][:, 0])
            np.testing.assert_array_equal(events.x, COLUMNS["x"][:, 0])


def test_a_flipped_byte_of_mat73_is_an_error_or_harmless(make: Any) -> None:
    whole = make.mat73(COLUMNS, compression="gzip", chunks=True)

    @settings(max_examples=30, deadline=None)  # each that is refused costs a process
    @given(offset=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def flip(offset: int, value: int) -> None:
        data = bytearray(whole)
        data[offset] = value
        with contextlib.suppress(SourceError):  # any other exception fails
            read(bytes(data))

    flip()
