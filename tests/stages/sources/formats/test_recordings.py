"""Every format round-trips against the library that reads it, and damaged files cost themselves alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import aedat
import expelliarmus
import h5py
import numpy as np
import pytest
import scipy.io
import tonic.io
from own_recordings import STATED_SIZES, WRITERS, as_structured, make_events
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import atis
from dvs_transfer.stages.sources.base import Events, EventStream, TimeUnit
from dvs_transfer.stages.sources.formats import columnar, columns, isolated
from dvs_transfer.stages.sources.formats.columns import join
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.formats.words import stream
from dvs_transfer.stages.sources.random_access import FileBytes, InMemory


def read(path: Path, time_unit: TimeUnit = "auto", suffix: str | None = None) -> Events:
    recording = open_recording(FileBytes(path), path.suffix if suffix is None else suffix, time_unit)
    return judged(recording, location=str(path))


def assert_same(found: Events, expected: Any) -> None:
    for name in "xytp":
        values = expected[name] if isinstance(expected, np.ndarray | dict) else getattr(expected, name)
        np.testing.assert_array_equal(getattr(found, name), np.asarray(values).astype(np.int64), err_msg=name)


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    """Under its own name and under none that says anything: the content decides."""
    events = make_events()
    WRITERS[name](tmp_path / name, events)
    found = read(tmp_path / name)
    assert_same(found, events)
    assert found.sensor_size == STATED_SIZES.get(name)
    assert_same(read(tmp_path / name, suffix=".mp4"), events)


def peers(path: Path) -> Any:
    """The events by a reader that shares no code with ours."""
    if path.suffix == ".bin":
        return tonic.io.read_mnist_file(str(path), dtype=np.dtype([(name, int) for name in "xytp"]))
    if path.suffix == ".aedat4":
        packets = [packet["events"] for packet in aedat.Decoder(path) if "events" in packet]
        events = np.concatenate(packets)
        return {name: events["on" if name == "p" else name] for name in "xytp"}
    if path.name == "three.raw":  # expelliarmus counts each wrap of the low time bits twice
        return naive_evt3(path.read_bytes())
    encoding = {"two.dat": "dat", "two.raw": "evt2"}[path.name]
    events = expelliarmus.Wizard(encoding=encoding).read(str(path))
    events["t"] += make_events().t[0] - events["t"][0]  # it leaves out the header's t0
    return events


def naive_evt3(data: bytes) -> dict[str, list[int]]:
    """Word by word, after Prophesee's description of EVT 3.0; only single events."""
    header, binary = data[data.index(b"% t0") :].split(b"\n", 1)
    words, first_us = np.frombuffer(binary, "<u2").tolist(), int(header.split()[-1])
    events: dict[str, list[int]] = {name: [] for name in "xytp"}
    row = high = low = 0
    for word in words:
        kind = word >> 12
        row = word & 0x7FF if kind == 0x0 else row
        low = word & 0xFFF if kind == 0x6 else low
        high = word & 0xFFF if kind == 0x8 else high
        if kind == 0x2:
            for name, value in (
                ("x", word & 0x7FF),
                ("y", row),
                ("t", first_us + (high << 12 | low)),
                ("p", word >> 11 & 1),
            ):
                events[name].append(value)
    return events


def columns_of(path: Path) -> Any:
    """Of a file with columns, by the library that everybody reads it with."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return {name: file[f"events/{name}"][:] for name in "xytp"}
    if path.suffix == ".mat":
        found = scipy.io.loadmat(path, squeeze_me=True)
        return {"x": found["x"], "y": found["y"], "t": found["ts"], "p": found["pol"] == 1}
    if path.suffix == ".csv":
        return dict(zip("txyp", np.loadtxt(path, np.int64, delimiter=",").T, strict=True))
    found = np.load(path)
    if path.suffix == ".npz":
        return {"x": found["x"], "y": found["y"], "t": found["timestamps"], "p": found["polarity"]}
    return found


@pytest.mark.parametrize("name", ["group.h5", "five.mat", "plain.mat", "plain.csv", "columns.npz", "structured.npy"])
def test_the_libraries_of_columns_read_the_same(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, make_events())
    assert_same(read(tmp_path / name), columns_of(tmp_path / name))


@pytest.mark.parametrize("name", ["records.bin", "a.aedat4", "two.dat", "two.raw", "three.raw"])
def test_other_readers_read_the_same(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, make_events())
    assert_same(read(tmp_path / name), peers(tmp_path / name))


ONE_PIECE = {"records.bin"}  # read whole


@pytest.mark.parametrize("name", WRITERS)
def test_a_long_recording_is_a_stream_of_the_same_events(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = make_events(20_000)
    WRITERS[name](tmp_path / name, events)
    monkeypatch.setattr(columns, "HELD_EVENTS", 5000)
    monkeypatch.setattr(atis, "MAX_READ_BYTES", 50_000)
    monkeypatch.setattr(isolated, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(stream, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "_TEXT_BLOCK_BYTES", 50_000)
    recording = open_recording(FileBytes(tmp_path / name), Path(name).suffix)
    assert isinstance(recording, EventStream)
    for _ in range(2):
        found = list(recording.pieces())
        assert len(found) > 1 or name in ONE_PIECE
        assert_same(judged(join(found)), events)


def test_a_file_in_an_archive_reaches_the_other_process(tmp_path: Path) -> None:
    WRITERS["a.aedat4"](tmp_path / "a.aedat4", make_events())
    content = InMemory((tmp_path / "a.aedat4").read_bytes(), "a.zip!a.aedat4")
    recording = open_recording(content, ".aedat4")
    assert isinstance(recording, Events)
    assert_same(judged(recording), make_events())


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("auto", np.array([1, 2000]), [1, 2000]),
        ("auto", np.array([1e-6, 0.002]), [1, 2000]),
        ("auto", np.array([1.0, 2000.0], np.float32), [1, 2000]),
        ("auto", np.array([1.0, 2000.5]), [1_000_000, 2_000_500_000]),
        ("us", np.array([1.0, 2000.4]), [1, 2000]),
        ("ms", np.array([1, 2]), [1000, 2000]),
        ("ms", np.array([0.5, 2.0]), [500, 2000]),
        ("s", np.array([1, 2]), [1_000_000, 2_000_000]),
        ("ns", np.array([1_499, 1_700_000_000_000_000_600]), [1, 1_700_000_000_000_001]),
        ("ns", np.array([1, 200], np.uint8), [0, 0]),
        ("ns", np.array([-100, 100], np.int8), [0, 0]),
        ("ns", np.array([1_499, 1_500], np.int16), [1, 2]),
    ],
)
def test_times_become_microseconds(unit: TimeUnit, values: Any, expected: list[int], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[1, 2], y=[3, 4], t=values, p=[0, 1])
    assert read(tmp_path / "a.npz", unit).t.tolist() == expected


def test_times_that_no_guess_explains_are_refused_with_the_option_that_does(tmp_path: Path) -> None:
    """Nanoseconds since 1970."""
    np.savez(tmp_path / "a.npz", x=[1, 2], y=[3, 4], t=1_700_000_000_000_000_000 + np.array([0, 5_000]), p=[0, 1])
    with pytest.raises(SourceError, match=r"that it is in us is a guess: if not, set frames\.time_unit"):
        read(tmp_path / "a.npz", "auto")
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "a.npz", "ms")
    assert "is a guess" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"p": [0, 1, 2]}, "event 2 has p=2, expected a whole number from -1 to 1"),
        ({"p": [-1, 0, 1]}, "event 1 has p=0 where others have -1, expected either 0 and 1 or -1 and 1"),
        ({"p": ["a", "b", "c"]}, r"p is \(3,\) <U1, expected \(3,\) numbers"),
        ({"x": [0, 0.5, 1]}, "event 1 has x=0.5"),
        ({"x": [0, -1, 1]}, "event 1 has x=-1"),
        ({"y": [0, 70_000, 1]}, "event 1 has y=70000"),
        ({"y": [0, float("nan"), 1]}, "event 1 has y=nan"),
        ({"t": [1, 5, 4]}, "backwards at event 2: 4 us after 5 us"),
        ({"t": [1, float("inf"), 4]}, "event 1 has t=inf"),
        ({"t": [1, 2**60, 2**61]}, "event 1 has t=1152921504606846976"),
        ({"t": [False, True, True]}, r"t is \(3,\) bool, expected"),
        ({"t": [1, 2]}, "x, y, t and p have different lengths"),
        ({"t": [[1, 2], [3, 4]]}, r"of shape \(2, 2\); expected numbers"),
        ({"z": [1], "t": None}, "expected the arrays x, y, t and p, found p, x, y, z"),
    ],
)
def test_columns_that_are_no_events(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    columns = {"p": [0, 1, 1], "x": [0, 1, 2], "y": [0, 1, 2], "t": [1, 2, 3], **changed}
    np.savez(tmp_path / "a.npz", **{name: values for name, values in columns.items() if values is not None})
    with pytest.raises(SourceError, match=rf"a\.npz.*: .*{message}"):
        read(tmp_path / "a.npz")


def test_polarity_must_be_the_same_in_all_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "PIECE_EVENTS", 2)
    for signs, message in ([1, -1, 1, 0], "p is 0 in some"), ([1, 0, 1, -1], "p is 0 in some events and -1"):
        np.savez(tmp_path / "a.npz", x=[1] * 4, y=[1] * 4, t=[1, 2, 3, 4], p=signs)
        monkeypatch.setattr(columns, "HELD_EVENTS", 3)
        with pytest.raises(SourceError, match=message):
            read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=[1] * 4, y=[1] * 4, t=[1, 2, 1, 4], p=[1, 1, 1, 1])
    with pytest.raises(SourceError, match="backwards at event 2: 1 us after 2 us"):
        read(tmp_path / "a.npz")


# Text ----------------------------------------------------------------------------------------------------------------


def test_nanoseconds_since_1970_are_not_rounded_to_a_float(tmp_path: Path) -> None:
    """Floats of that size are 256 ns apart, so that some would come out a microsecond off."""
    times = 1_700_000_000_123_456_789 + 37 * np.arange(1000)
    np.savetxt(tmp_path / "a.txt", np.c_[times, np.ones((1000, 3), int)], fmt="%d")
    assert read(tmp_path / "a.txt", "ns").t.tolist() == ((times + 500) // 1000).tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4000000000 1\n1,2,3,1\n", "announces a sensor of 4000000000 x 1 pixels"),
        ("1,2,3\n", "3 columns, expected four"),
        ("1,2,3,1\nx,2,3,1\n", "could not convert string 'x'"),
        ("1,2,3,1\n1.5,2,3,1\n", "whole numbers at first in column 1, fractions after"),
        ("hello\nworld\n", "could not convert string 'hello'"),
        ("# nothing\n", "no event in it"),
        ("1,2,3,1\n" + "1" * 200_000, "a line of more than"),
    ],
)
def test_text_that_is_no_recording(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "_TEXT_BLOCK_BYTES", 50_000)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SourceError, match=rf"a\.csv: .*{message}"):
        read(tmp_path / "a.csv")


# What a file is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x01\x02" * 100, "is of no known format"),
        (b"#!AER-DAT3.0\r\nrest", r"AEDAT of version 3\.0; 2, 3\.1 and 4 are read"),
        (b"% evt 5.0\n% end\n", r"EVT of version 5\.0; 2, 2\.1, 3 and 4 are read"),
        (b"% evt 3.0\n% end\n" + bytes(7), "7 bytes after byte 16 are not a whole number of 2-byte records"),
        (b"% Version 2\n\x0c\x08" + bytes(9), "9 bytes after byte 14 are not a whole number of 8-byte records"),
        (b"PK\x03\x04" + bytes(50), "zip"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, "is no NumPy file of version 1 or 2"),
    ],
)
def test_files_that_are_no_recording(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=rf"a\.raw: .*{message}"):
        open_recording(InMemory(data, "a.raw"), ".raw")


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(SourceError, match="object of shape"):
        read(tmp_path / "a.npy")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (1 << 19,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "xytp":
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(1 << 22))
    with pytest.raises(SourceError, match=r"a\.npz"):
        read(tmp_path / "a.npz")


def test_hdf5_that_reaches_into_other_files_is_refused(tmp_path: Path) -> None:
    WRITERS["group.h5"](tmp_path / "other.h5", make_events())
    columns = {"x": [1], "y": [1], "t": [1], "p": [1]}

    def make(name: str) -> tuple[Path, h5py.File]:
        file = h5py.File(tmp_path / name, "w")
        for column, values in columns.items():
            if column != "t":
                file[column] = values
        return tmp_path / name, file

    path, file = make("link.h5")
    with file:
        file["t"] = h5py.ExternalLink("other.h5", "events/t")
    with pytest.raises(SourceError, match=r"link\.h5: .*t is a ExternalLink"):
        read(path)
    path, file = make("virtual.h5")
    with file:
        layout = h5py.VirtualLayout((1,), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "events/t", (2000,))[:1]
        file.create_virtual_dataset("t", layout)
    with pytest.raises(SourceError, match=r"virtual\.h5: .*lies in another file"):
        read(path)
    path, file = make("external.h5")
    with file:
        file.create_dataset("t", (1,), "i8", external=[(str(tmp_path / "secret"), 0, 8)])
    with pytest.raises(SourceError, match=r"external\.h5: .*lies in another file"):
        read(path)


def test_hdf5_announces_no_more_than_it_may(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("events", (1 << 30,), as_structured(make_events(1)).dtype, chunks=(1 << 24,))
    with pytest.raises(SourceError, match="chunks of 218103808 bytes, the limit is"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("three.raw", "% date 2023-03-29\n% evt 3.0\n% format EVT3;height=480;width=640\n% geometry 640x480\n% end\n"),
        ("three.raw", "% Date 2014-02-28\n% evt 3.0\n% system_ID 28\n"),
        ("three.raw", "% format EVT3;height=480;width=640\n% end\n"),
        ("two.raw", "% Date 2014-02-28\n% evt 2.0\n% geometry 640x480\n"),
        ("two.dat", "% Data file containing CD events.\n% Version 2\n% Height 480\n% Width 640\n"),
        ("two.dat", "% Data file containing CD events.\n% Version 2\n% Date 2014-02-28\n"),
    ],
)
def test_headers_as_cameras_write_them(name: str, header: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, make_events())
    written, binary = (tmp_path / name).read_bytes().lower().split(b"% t0 ", 1)[0], (tmp_path / name).read_bytes()
    body = binary[len(written) :].split(b"\n", 1)[1]
    (tmp_path / name).write_bytes(header.encode() + body)
    found = read(tmp_path / name)
    assert found.sensor_size == ((640, 480) if "640" in header else None)
    np.testing.assert_array_equal(found.t - found.t[0], make_events().t - make_events().t[0])
    np.testing.assert_array_equal(found.x, make_events().x)


# Damage --------------------------------------------------------------------------------------------------------------


def test_a_file_that_aborts_its_decoder_costs_itself_alone(tmp_path: Path) -> None:
    """A type in the header's XML that there is not: `faery` panics while it handles a panic. Found by mutation."""
    path = tmp_path / "a.aedat4"
    WRITERS["a.aedat4"](path, make_events(60))
    data = bytearray(path.read_bytes())
    data[data.index(b'"string">LZ4') + 1] = 0xCF
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.aedat4: its decoder was ended by signal 6"):
        read(path)
    WRITERS["a.aedat4"](path, make_events(60))
    assert_same(read(path), make_events(60))


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_give_events_or_a_source_error(name: str, tmp_path: Path) -> None:
    """Cut off and with bytes flipped; the process lives, and so does the next file's decoder."""
    whole, damaged = tmp_path / name, tmp_path / f"damaged{Path(name).suffix}"
    WRITERS[name](whole, make_events(300))
    data = whole.read_bytes()
    rng = np.random.default_rng(1)
    messages = []
    for _ in range(8):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            broken[place] ^= rng.integers(1, 256)
        damaged.write_bytes(broken[: rng.integers(1, len(data))] if rng.integers(2) else broken)
        try:
            found = read(damaged)
            assert (found.t[1:] >= found.t[:-1]).all()
        except SourceError as error:
            messages.append(str(error))
    assert messages
    assert all(str(damaged) in message for message in messages)
    assert_same(read(whole), make_events(300))
