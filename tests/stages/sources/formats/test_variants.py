"""Files as cameras and programs write them: headers, packets and columns in forms that real recordings have."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from cifar_data import dvs128
from own_recordings import make_events
from recordings import judged
from scipy.io import savemat
from word_files import Rows, aedat31, dat, es, evt2, evt3, evt_header, packet, read_dat, read_evt2

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.base import AtisRecords, Events
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import InMemory

ROWS = list(zip(*(getattr(make_events(50), name).tolist() for name in "xytp"), strict=True))


def read(data: bytes, suffix: str = "") -> Events:
    recording = open_recording(InMemory(data, "a"), suffix)
    assert not isinstance(recording, AtisRecords)
    return judged(recording)


def rows_of(events: Events) -> Rows:
    return list(zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True))


# Prophesee ------------------------------------------------------------------------------------------------------------

FIELDS = """% camera_integrator_name Prophesee
% date 2023-03-01 10:00:00
% evt 2.0
% format EVT2;height=480;width=640
% generation 3.1
% geometry 640x480
% plugin_name hal_plugin_gen31_fx3
% system_ID 28
"""
OLD = "% Date 2017-05-05 12:00:00\n% evt 2.0\n% firmware_version 3.3.0\n% serial_number 1\n% system_ID 21\n"


@pytest.mark.parametrize("end", ["", "% end\n"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("header", "size"),
    [
        (FIELDS, (640, 480)),
        ("% format EVT2;height=480;width=640\n", (640, 480)),
        (OLD, None),
        ("% évt\n% integrator_name Société\n% evt 2.0\n", None),
    ],
)
def test_headers_of_raw_files(header: str, size: Any, line_end: str, end: str) -> None:
    found = read(evt2(ROWS, (header + end).replace("\n", line_end).encode()))
    assert rows_of(found) == ROWS
    assert found.sensor_size == size


@pytest.mark.parametrize("others", [(0xA000_0001, 0xE000_0005, 0xF000_0000), (0xA000_0100,)])
def test_triggers_and_other_words_are_no_events(others: tuple[int, ...]) -> None:
    data, at = evt2(ROWS), len(evt2([])) + 8
    words = [struct.pack("<I", word) for word in others]
    assert rows_of(read(data[:at] + b"".join(words) + data[at:] + words[0])) == ROWS
    data = evt3(ROWS, b"% evt 3.0\n")
    assert rows_of(read(data + struct.pack("<3H", 0xA001, 0xE000, 0xF123))) == ROWS


def test_vectors_at_the_edge_of_the_sensor() -> None:
    """Of 12 columns from 1276 on, four are there."""
    words = (0x8000, 0x6005, 7, 0x3800 | 1276, 0x400F, 0x4000)
    header = evt_header("3.0", "% geometry 1280x720\n")
    assert rows_of(read(header + struct.pack("<6H", *words))) == [(1276 + step, 7, 5, 1) for step in range(4)]
    with pytest.raises(SourceError, match="event 4 has x=1280"):
        read(header + struct.pack("<6H", *words[:4], 0x401F, 0x4000))


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ("% Date 2014-09-24 11:36:57\n% Height 480\n% Width 640\n", (640, 480)),
        ("% Date 2014-06-25 17:53:46\n% 304x240\n", None),
        ("% Height 480\n% Width 640\n% end\n", (640, 480)),
    ],
)
@pytest.mark.parametrize("kind", [0, 12])
def test_headers_of_dat_files(more: str, size: Any, kind: int) -> None:
    found = read(dat(ROWS, more=more, kind=kind))
    assert rows_of(found) == ROWS
    assert found.sensor_size == size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dat(ROWS, kind=14), "byte 46: DAT with events of type 14 .* such as one of triggers"),
        (b"% Data file containing CD events.\n\x0c\x08" + dat(ROWS)[-80:], "DAT of a version that it does not tell"),
        (evt2(ROWS, OLD.replace("% evt 2.0\n", "").encode()), r"header tells no version of EVT or DAT, as '% evt 3.0'"),
        (evt2(ROWS)[:-1], "not a whole number of 4-byte records"),
    ],
)
def test_files_of_prophesee_s_that_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(data)


@pytest.mark.parametrize("seed", range(3))
def test_runs_of_every_length(seed: int) -> None:
    """Blocks and runs are decoded in vector instructions, with times that overflow and step back in some of them."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(5000) < 0.002, rng.integers(-(2**20), 2**29, 5000), rng.integers(0, 3, 5000))
    if seed:
        steps[rng.integers(0, 5000, 3000 // seed**3)] += rng.integers(0, 400, 3000 // seed**3)
    t = 2**32 - 2**29 + np.cumsum(steps)
    x, y, p = rng.integers(0, 2048, 5000), rng.integers(0, 2048, 5000), rng.integers(0, 2, 5000)
    rows = [tuple(row) for row in np.stack([x, y, t, p], axis=1).tolist()]
    for write, expected in ((dat, read_dat), (evt2, read_evt2)):
        data = write(rows)
        start = len(write([]))
        recording = open_recording(InMemory(data, "a"), "")
        assert isinstance(recording, Events)
        found = rows_of(recording)
        assert found == expected(data[start:])
        assert [row[:2] + row[3:] for row in found] == [row[:2] + row[3:] for row in rows]


# iniVation ------------------------------------------------------------------------------------------------------------

TEXTS = [
    "#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n",
    "#!AER-DAT2.0\n# AEChip: DVS128\n",
    "#!AER-DAT2.0\r\n# Zürich, naïve\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n#End Of ASCII Header\r\n",
    '#!AER-DAT2.0\r\n#<?xml version="1.0"?>\r\n#  <map/>\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n',
]


@pytest.mark.parametrize("header", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_headers_of_jaer(header: str, encoding: str) -> None:
    """With a synchronising record (bit 15) behind each event."""
    records = [(dvs128(127 - x, 127 - y, 1 - p), t) for x, y, t, p in ROWS]
    words = b"".join(struct.pack(">IIII", address, t, address | 0x8000, t) for address, t in records)
    assert rows_of(read(header.encode(encoding) + words)) == ROWS


def test_samples_among_the_events_of_a_davis() -> None:
    header = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS346B\r\n"
    words = b""
    for x, y, t, p in ROWS:
        event = (259 - y) << 22 | (345 - x) << 12 | p << 11
        sample, inertial, external = 0x8000_0000 | 5 << 12 | 0x400 | 100, 0xB000_0077, 1 << 12 | 0x400
        words += struct.pack(">8I", event, t, sample, t, inertial, t, external, t)
    found = read(header + words)
    assert rows_of(found) == ROWS
    assert found.sensor_size == (346, 260)


def test_packets_of_frames_and_others_of_caer() -> None:
    """Among them one behind the overflow of the time, and events that are marked as not valid."""
    late = [(x, y, t + (2 << 31), p) for x, y, t, p in ROWS]
    data = aedat31(late, "DAVIS346Blue")
    start = data.index(b"#!END-HEADER\r\n") + 14
    frame = struct.pack("<hhiiiiii", 2, 0, 236, 20, 0, 1, 1, 1) + bytes(236)
    inertial = packet(3, 36, [(1, *range(8))] * 2, 0)
    found = read(data[:start] + frame + inertial + data[start:] + frame)
    assert rows_of(found) == late
    assert found.sensor_size == (346, 260)
    with pytest.raises(SourceError, match="packets of the format SerializedTS; RAW is read: convert"):
        read(data.replace(b"RAW", b"SerializedTS"))


def test_event_streams_of_other_versions_and_types() -> None:
    data = es(ROWS, (64, 48))
    assert rows_of(read(data[:12] + b"\2\0\3" + data[15:])) == ROWS
    with pytest.raises(SourceError, match=r"version 1\.0\.0; version 2 is read: convert it"):
        read(data[:12] + b"\1" + data[13:])
    with pytest.raises(SourceError, match=r"of type 0 \(generic\); dvs"):
        read(data[:15] + b"\0" + data[16:])


# Columns --------------------------------------------------------------------------------------------------------------


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


TABLE = np.array(ROWS)
X, Y, T, P = TABLE.T


def structured(names: str, types: str) -> Any:
    columns = {"x": X, "y": Y, "t": T, "p": P}
    array = np.zeros(len(ROWS), list(zip(names.split(), types.split(), strict=True)))
    for name in names.split():
        array[name] = columns[name[0]]
    return array


@pytest.mark.parametrize(
    "data",
    [
        npy(structured("t x y p", "<i8 <i2 <i2 ?")),
        npy(structured("t x y pol", ">i8 >u2 >u2 >i2")),
        npy(structured("timestamp x y polarity", "<u8 <u2 <u2 ?")),
        npy(np.rec.fromarrays([X, Y, T, P], names="x,y,t,p")),
        npy(TABLE.astype(">i4")),
        npy(TABLE.astype(float)),
        npz(xs=X, ys=Y, ts=T, ps=P),
        npz(x_pos=X, y_pos=Y, timestamp=T, polarity=P),
        npz(event_data=TABLE, label=np.array(3)),
        npz(events=structured("t x y p", "<f8 <u2 <u2 <i2"), frames=np.zeros((2, 3, 4))),
        npz(x=X, y=Y, t=T, p=P, settings=np.array({"a": 1}, object)),
        npz(x=X[:, None], y=Y[:, None], t=T[:, None], p=P[:, None] * 2 - 1),
    ],
)
def test_numpy_files(data: bytes) -> None:
    assert rows_of(read(data)) == ROWS


def text(order: str, header: str = "", separator: str = ",", end: str = "\n", form: str = "{}") -> bytes:
    values = {"x": X, "y": Y, "t": T, "p": P}
    lines = zip(*(values[name].tolist() for name in order), strict=True)
    return (header + "".join(separator.join(map(form.format, line)) + end for line in lines)).encode()


@pytest.mark.parametrize(
    "data",
    [
        text("xypt", "x,y,polarity,timestamp\r\n", end="\r\n"),
        text("txyp", "\ufeff"),
        text("xypt", "\ufeffx,y,p,t\n"),
        text("txyp", "t\tx\ty\tp\n", "\t"),
        text("xypt", separator=", "),
        text("txyp", separator="  ", form="{:>9}"),
        text("txyp", form="{:.18e}"),
        text("txyp", "timestamp,x_pos,y_pos,polarity\n"),
        text("txyp", "# timestamp [us], x, y, polarity (0: off, 1: on)\n"),
        text("txyp", "# one\n# events: t x y p\n", " "),
        text("txyp", "t,x,y,p\n").replace(b",1\n", b",True\n").replace(b",0\n", b",False\n"),
        text("xtxyp", ",timestamp,x,y,polarity\n"),
    ],
)
def test_text_files(data: bytes) -> None:
    assert rows_of(read(data, ".csv")) == ROWS


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, text("txyp"))
    return file.getvalue()


def mat(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.array([(1, 2), (3,)], object)), r"object of shape \(2,\); expected numbers"),
        (npy(TABLE.T), r"of shape \(4, 50\); expected numbers of shape \(n,\) or \(n, 4\)"),
        (zipped("events.txt"), "is a zip archive without NumPy's arrays: unpack the recordings in it"),
        (b"#ROSBAG V2.0\n\x00\x01\x02", "is a ROS bag: write its events as HDF5, NumPy or text"),
        (mat(TD={"x": X, "y": Y, "ts": T, "p": P}), r"found TD; of a struct S .* save\(file, '-struct', 'S'\)"),
    ],
)
def test_what_is_refused_for_a_reason_that_helps(data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(data)
