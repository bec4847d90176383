"""HDF5 as data sets publish it: compressed with filters that HDF5 does not bring, and with more in it than events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from own_recordings import as_structured, make_events
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.base import Events
from dvs_transfer.stages.sources.formats import child_hdf5
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import FileBytes

FILTERS: Mapping[str, Any] = {
    "blosc": hdf5plugin.Blosc(),
    "blosc of zstd": hdf5plugin.Blosc(cname="zstd", clevel=5, shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle and lz4": hdf5plugin.Bitshuffle(),
    "bitshuffle and zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "lzf": {"compression": "lzf", "shuffle": True},
    "gzip": {"compression": "gzip", "fletcher32": True},
}
if h5py.h5z.filter_avail(child_hdf5.SZIP):
    FILTERS = {**FILTERS, "szip": {"compression": "szip"}, "shuffle and szip": {"compression": "szip", "shuffle": True}}


def read(path: Path) -> Events:
    found = open_recording(FileBytes(path), path.suffix)
    assert isinstance(found, Events)
    return judged(found)


def assert_same(found: Events, expected: Events) -> None:
    for name in "xytp":
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("name", FILTERS)
def test_filters(name: str, tmp_path: Path) -> None:
    events = make_events(5000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xytp":
            values = getattr(events, column)
            file.create_dataset(f"events/{column}", data=values, chunks=(999,), **FILTERS[name])
    assert_same(read(tmp_path / "a.h5"), events)


def test_the_layout_of_dsec(tmp_path: Path) -> None:
    """`t_offset` is not added: frames begin with the first event."""
    events = make_events(5000)
    with h5py.File(tmp_path / "events.h5", "w") as file:
        for column, dtype in (("p", "u1"), ("t", "u4"), ("x", "u2"), ("y", "u2")):
            file.create_dataset(f"events/{column}", data=getattr(events, column).astype(dtype), **hdf5plugin.Blosc())
        ms = np.searchsorted(events.t, 1000 * np.arange(300)).astype("u8")
        file.create_dataset("ms_to_idx", data=ms, **hdf5plugin.Blosc())
        file["t_offset"] = np.int64(49_599_300_523)
    assert_same(read(tmp_path / "events.h5"), events)


def test_the_layout_of_m3ed(tmp_path: Path) -> None:
    """Two cameras, calibration and other sensors: the left one's events."""
    left, right = make_events(3000), make_events(2000, seed=1)
    with h5py.File(tmp_path / "a_data.h5", "w") as file:
        for side, events in (("right", right), ("left", left)):
            group = file.create_group(f"prophesee/{side}")
            for column, dtype in (("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "i1")):
                values = getattr(events, column).astype(dtype)
                group.create_dataset(column, data=values, chunks=True, **hdf5plugin.Blosc(cname="zstd"))
            group["ms_map_idx"] = np.arange(300, dtype="u8")
            group["calib/intrinsics"] = np.ones(4)
            group["calib/T_to_prophesee_left"] = np.eye(4)
        file["ovc/imu/accel"] = np.zeros((10, 3))
        file["ouster/data"] = np.zeros((2, 128, 4), "u1")
    assert_same(read(tmp_path / "a_data.h5"), left)


def with_filter(path: Path, code: int) -> None:
    """A file of Prophesee's layout that says that its chunks went through this filter, which is not there."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1000,))
    properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
    dtype = as_structured(make_events(1), p="<i2").dtype
    with h5py.File(path, "w") as file:
        group = file.create_group("CD")
        kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple((5000,))
        h5py.h5d.create(group.id, b"events", kind, space, properties)


def test_prophesee_s_codec_is_refused_for_a_reason_that_helps(tmp_path: Path) -> None:
    with_filter(tmp_path / "a.hdf5", child_hdf5.ECF)
    with pytest.raises(SourceError, match=r"a\.hdf5: /CD/events is compressed with Prophesee's ECF.* RAW") as caught:
        read(tmp_path / "a.hdf5")
    assert "fetch it again" not in str(caught.value)


def test_filters_that_lose_something_or_run_something_are_refused(tmp_path: Path) -> None:
    """hdf5plugin has more than are read; none of them decodes anything."""
    for code in (hdf5plugin.Blosc2.filter_id, hdf5plugin.Zfp.filter_id, 60_000):
        with_filter(tmp_path / "a.h5", code)
        with pytest.raises(SourceError, match=rf"is compressed with HDF5's filter {code}; read are .*Zstandard: write"):
            read(tmp_path / "a.h5")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux, which says what a process has loaded")
def test_plugins_of_elsewhere_are_not_loaded(tmp_path: Path) -> None:
    """A library that somebody put on HDF5's search path is not loaded, where plain h5py loads it."""
    (tmp_path / "plugins").mkdir()
    for library in Path(hdf5plugin.PLUGIN_PATH).glob("libh5blosc.so"):
        shutil.copy(library, tmp_path / "plugins")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xytp":
            file.create_dataset(column, data=np.arange(100), chunks=(100,), **hdf5plugin.Blosc())

    def loaded(code: str) -> bool:
        """Whether the process read the file, and whether it loaded the library of the folder."""
        program = f"{code}\nprint(value == 5, {str(tmp_path)!r} in open('/proc/self/maps').read())"
        environment = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.startswith("True"), done.stderr
        return done.stdout.split()[1] == "True"

    path = str(tmp_path / "a.h5")
    assert loaded(f"import h5py; value = h5py.File({path!r})['x'][5]")
    ours = f"runpy.run_path({str(child_hdf5.__file__)!r})['read']({path!r}, 50)"
    assert not loaded(f"import runpy; value = next(iter(next({ours}[1])['x'][2]))[5]")


def test_a_chunk_that_is_damaged_costs_one_file(tmp_path: Path) -> None:
    events = make_events(5000)
    for name in ("blosc", "zstd", "lz4", "bitshuffle and lz4"):
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            for column in "xytp":
                data = getattr(events, column)
                file.create_dataset(f"events/{column}", data=data, chunks=(999,), **FILTERS[name])
            chunk = file["events/t"].id.get_chunk_info(2)
        data = bytearray(path.read_bytes())
        data[chunk.byte_offset : chunk.byte_offset + 16] = b"\xff" * 16
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"\.h5: "):
            read(path)


@pytest.mark.parametrize("name", FILTERS)
def test_a_chunk_that_decodes_to_fewer_bytes_is_refused(name: str, tmp_path: Path) -> None:
    """HDF5 2.0 gives what lay in memory for the rest."""
    events = make_events(5000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xytp":
            values = getattr(events, column)
            whole = file.create_dataset(f"events/{column}", data=values, chunks=(1000,), **FILTERS[name])
            short = file.create_dataset(f"short/{column}", data=values[:600], chunks=(600,), **FILTERS[name])
        skipped, data = short.id.read_direct_chunk((0,))
        del file["short"]
        whole.id.write_direct_chunk((2000,), data, skipped)
    with pytest.raises(SourceError, match=r"/events/. has chunks of \d+ bytes, one decodes to \d+; refused"):
        read(tmp_path / "a.h5")


def test_values_of_varying_length_are_refused(tmp_path: Path) -> None:
    """They lie elsewhere in the file, in no bounded pieces."""
    varying = h5py.vlen_dtype(np.int64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xytp":
            values = file.create_dataset(column, (5,), varying if column == "t" else np.int64)
            values[:] = [np.arange(2)] * 5 if column == "t" else 1
    with pytest.raises(SourceError, match=r"a\.h5: .*/t has values of varying length, or references; expected numbers"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("events", (5,), [(column, "i8") for column in "xytp"] + [("tag", h5py.string_dtype())])
    with pytest.raises(SourceError, match=r"/events has values of varying length"):
        read(tmp_path / "b.h5")


def test_a_chunk_without_filters_that_is_stored_in_fewer_bytes_is_refused(tmp_path: Path) -> None:
    events = make_events(5000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xytp":
            data = getattr(events, column)
            whole = file.create_dataset(column, data=data, chunks=(1000,))
            whole.id.write_direct_chunk((2000,), data[:600].tobytes())
    with pytest.raises(SourceError, match=r"stores a chunk of \d+ bytes in \d+; refused"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("user_block", [0, 512])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip", "shuffle": True}], ids=["plain", "gzip"])
@pytest.mark.parametrize("num_events", [999, 1000, 2500])
def test_layouts(version: str, user_block: int, filters: dict[str, Any], num_events: int, tmp_path: Path) -> None:
    """Chunks in each other's way, as a recorder writes them; other byte orders, two dimensions, enumerations."""
    events = make_events(num_events)
    kinds = {"x": ">u2", "y": "<i4", "t": ">i8", "p": "?"}
    shapes = {"x": (1, -1), "y": (-1, 1), "t": (-1,), "p": (-1,)}
    with h5py.File(tmp_path / "a.h5", "w", libver=version, userblock_size=user_block) as file:
        for name, side in zip("xytp", (100, 333, 250, 1000), strict=True):
            values = getattr(events, name).astype(kinds[name]).reshape(shapes[name])
            chunks = tuple(min(side, length) for length in values.shape)
            most = tuple(None if length == num_events else 1 for length in values.shape)
            file.create_dataset(name, values.shape, values.dtype, chunks=chunks, maxshape=most, **filters)
        for start in range(0, num_events, 100):
            for name in "xytp":
                where = tuple(slice(start, start + 100) if side == -1 else slice(None) for side in shapes[name])
                file[name][where] = getattr(events, name).astype(kinds[name]).reshape(shapes[name])[where]
    if user_block:  # as MATLAB fills it
        with (tmp_path / "a.h5").open("r+b") as content:
            content.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    assert_same(read(tmp_path / "a.h5"), events)


def test_numbers_that_numpy_has_not_are_converted(tmp_path: Path) -> None:
    """12 bits in 16 of them, and values in the header of their dataset."""
    events = make_events(100)
    narrow = h5py.h5t.STD_U16LE.copy()
    narrow.set_precision(12)
    narrow.set_offset(4)
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((100,))
        for name, kind, how in (
            ("x", narrow, None),
            ("y", h5py.h5t.STD_U16LE, compact),
            ("t", h5py.h5t.STD_I64BE, compact),
            ("p", h5py.h5t.STD_I8LE, None),
        ):
            made = h5py.h5d.create(file.id, name.encode(), kind, space, how)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(getattr(events, name)))
    assert_same(read(tmp_path / "a.h5"), events)


def test_one_dataset_for_two_columns(tmp_path: Path) -> None:
    for filters in ({}, {"compression": "gzip"}):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in "xtp":
                file.create_dataset(name, data=np.arange(2000) % 2 + (name == "t"), chunks=(100,), **filters)
            file["y"] = file["x"]
            file["t"][...] = np.arange(2000)
        found = read(tmp_path / "a.h5")
        np.testing.assert_array_equal(found.x, found.y)
        np.testing.assert_array_equal(found.x, np.arange(2000) % 2)
