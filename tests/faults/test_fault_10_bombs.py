"""Fault 10: images, MAT, HDF5, NumPy and camera files that announce, or inflate to, more than any memory has."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import scipy.io
from fault_injection import Tally
from own_recordings import WRITERS, make_events
from PIL import Image
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore, list_stores
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.images import MAX_SCANS, decode_image
from dvs_transfer.stages.sources.random_access import FileBytes

MAX_RSS = 1_500_000_000  # of a conversion, most of which the libraries take
COLUMNS = ("x", "y", "ts", "p")


# Images ---------------------------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """An image of one colour, deflated to almost nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(width * height, 1 << 24)))
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize("side", [6_000, 10_000, 12_000, 50_000, 2**31 - 1])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_pixel_bomb_is_refused_by_its_header(side: int, action: Any, tally: Tally) -> None:
    """Whether Pillow's warning of bombs is an error, as in these tests, or not, as elsewhere."""
    with tally.attempt(), warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(SourceError, match=r"bomb\.png: "):
            decode_image(png(side, side), "bomb.png")


def test_a_jpeg_of_many_scans_is_refused(tally: Tally) -> None:
    """Each scan of a progressive JPEG costs a pass over all pixels, and takes ten bytes."""
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start = data.rindex(b"\xff\xda")
    scan = data[start : data.index(b"\xff\xd9", start)]
    assert decode_image(data, "a.jpg").shape == (3000, 3000, 3)
    with tally.attempt(), pytest.raises(SourceError, match=f"more than {MAX_SCANS} scans"):
        decode_image(data[:start] + scan * 5000 + b"\xff\xd9", "a.jpg")


# MAT ------------------------------------------------------------------------------------------------------------------


def mat5(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def mat5_matrix(name: bytes, shape: tuple[int, int], values: np.ndarray) -> bytes:
    parts = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, *shape)
    parts += struct.pack("<II", 1, len(name)) + name.ljust(8, b"\0") + struct.pack("<II", 9, values.nbytes)
    return struct.pack("<II", 14, len(parts) + values.nbytes) + parts + values.tobytes()


def deflated(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return struct.pack("<II", 15, len(packed)) + packed


def hdf5(make: Callable[[Any], Any], **options: Any) -> bytes:
    """A file in which `make` puts the variable x, and which has the others."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        for name in COLUMNS[1:]:
            file[name] = np.zeros(10, "u2")
        make(file)
    return buffer.getvalue()


def lying_chunk(file: Any) -> None:
    dataset = file.create_dataset("x", shape=(1024,), dtype="u1", chunks=(1024,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(300_000_000)))


def announcing(options: Any, chunk: bytes) -> Callable[[Any], None]:
    """A filtered chunk of 1,024 bytes whose own header announces as many as it can."""

    def make(file: Any) -> None:
        dataset = file.create_dataset("x", shape=(1024,), dtype="u1", chunks=(1024,), **options)
        dataset.id.write_direct_chunk((0,), chunk)

    return make


def elsewhere(kind: str, folder: Path) -> Callable[[Any], Any]:
    """Puts x into the file other.h5, or a plain one, and points there."""
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.arange(10, dtype="u2")
    (folder / "secret").write_bytes(bytes(range(64)))
    layout = h5py.VirtualLayout(shape=(10,), dtype="u2")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", shape=(10,))
    return {
        "external link": lambda file: file.__setitem__("x", h5py.ExternalLink(str(folder / "other.h5"), "x")),
        "soft link": lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        "external storage": lambda file: file.create_dataset(
            "x", (10,), "u1", external=[(str(folder / "secret"), 0, 10)]
        ),
        "virtual data set": lambda file: file.create_virtual_dataset("x", layout),
    }[kind]


MAT_BOMBS: dict[str, Callable[[], bytes]] = {
    "mat5: dimensions": lambda: mat5(mat5_matrix(b"x", (1 << 15, 1 << 15), np.zeros(2))),
    "mat5: negative dimensions": lambda: mat5(mat5_matrix(b"x", (-1, -2), np.zeros(2))),
    "mat5: zlib": lambda: mat5(deflated(mat5_matrix(b"x", (1, 1 << 24), np.zeros(1 << 24)))),
    "mat5: zlib beyond what is announced": lambda: mat5(
        deflated(mat5_matrix(b"x", (1, 2), np.zeros(2)) + bytes(1 << 28))
    ),
    "mat5: many zlib": lambda: mat5(*500 * [deflated(bytes(1 << 25))]),
    "mat5: a million variables": lambda: mat5(*1_000_000 * [struct.pack("<II", 14, 0)]),
    "hdf5: dimensions": lambda: hdf5(lambda file: file.create_dataset("x", (1 << 40,), "f8", chunks=(1024,))),
    "hdf5: dimensions, user block": lambda: hdf5(
        lambda file: file.create_dataset("x", (1 << 40,), "f8", chunks=(1024,)), userblock_size=512
    ),
    "hdf5: chunk": lambda: hdf5(
        lambda file: file.create_dataset("x", (10,), "f8", chunks=(1 << 27,), maxshape=(None,))
    ),
    "hdf5: deflated chunk": lambda: hdf5(lying_chunk),
    "hdf5: Blosc": lambda: hdf5(
        announcing(hdf5plugin.Blosc(), struct.pack("<4B3I", 2, 1, 0x20, 1, (1 << 31) - 1, 1 << 20, 40) + bytes(24))
    ),
    "hdf5: LZ4": lambda: hdf5(announcing(hdf5plugin.LZ4(), struct.pack(">QII", 1 << 60, 1 << 30, 4) + bytes(4))),
    "hdf5: bitshuffle": lambda: hdf5(announcing(hdf5plugin.Bitshuffle(), struct.pack(">QII", 1 << 60, 1 << 30, 4))),
    "hdf5: Zstandard": lambda: hdf5(
        announcing(hdf5plugin.Zstd(), b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 60) + b"\x01\x00\x00")
    ),
}
ELSEWHERE = ("external link", "soft link", "external storage", "virtual data set")


@pytest.mark.parametrize("bomb", [*MAT_BOMBS, *ELSEWHERE])
def test_mat_and_hdf5_bombs_are_refused(bomb: str, tally: Tally, tmp_path: Path) -> None:
    data = MAT_BOMBS[bomb]() if bomb in MAT_BOMBS else hdf5(elsewhere(bomb, tmp_path))
    (tmp_path / "1.mat").write_bytes(data)
    before = peak_rss()
    with tally.attempt(), pytest.raises(SourceError, match=r"1\.mat: "):
        read_whole(tmp_path / "1.mat")
    assert peak_rss() - before < 1 << 28


def inflating(name: bytes, num_mib: int) -> bytes:
    """A variable of so many MiB that takes a thousandth of them."""
    num_bytes = num_mib << 20
    whole = mat5_matrix(name, (1, num_bytes), np.zeros(0))
    deflate = zlib.compressobj()
    packed = deflate.compress(struct.pack("<II", 14, len(whole) - 8 + num_bytes) + whole[8:-8])
    packed += deflate.compress(struct.pack("<II", 2, num_bytes)) + deflate.flush(zlib.Z_FULL_FLUSH)
    packed += num_mib * (deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH))
    return struct.pack("<II", 15, len(packed)) + packed


def test_a_bomb_for_tonic_costs_one_recording(tally: Tally, tmp_path: Path) -> None:
    """tonic gives MAT files to SciPy, which holds all variables, whatever they inflate to."""
    folder = tmp_path / "ASLDVS" / "a"
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "1.mat", {"ts": [[5], [9]], "x": [[239], [0]], "y": [[0], [179]], "pol": [[1], [0]]})
    (folder / "2.mat").write_bytes(mat5(*(inflating(name, 800) for name in (b"ts", b"x", b"y", b"pol"))))
    source = open_source("tonic:ASLDVS", tmp_path)
    before = peak_rss()
    with tally.attempt(), pytest.raises(SourceError, match=r"2\.mat: cannot be decoded \(MemoryError"):
        source.read_bytes(source.samples[1])
    assert peak_rss() - before < 1 << 28
    assert len(source.read_bytes(source.samples[0])) == 2 * 4 * 8


# NumPy and cameras ----------------------------------------------------------------------------------------------------


def npz(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.npy", content)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    described = [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")]
    np.lib.format.write_array_header_1_0(buffer, {"descr": described, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + content


def with_number(name: str, offset: int, number: int) -> Callable[[Path], bytes]:
    """A recording whose 4 bytes at `offset` announce another number."""

    def make(folder: Path) -> bytes:
        WRITERS[name](folder / name, make_events())
        data = bytearray((folder / name).read_bytes())
        struct.pack_into("<I", data, offset, number)
        return bytes(data)

    return make


BOMBS: dict[str, Callable[[Path], bytes]] = {
    "bomb.npz": lambda folder: npz(npy((30_000_000 // 13,), bytes(30_000_000))),
    "many.npy": lambda folder: npy((1 << 50,)),
    "sides.npy": lambda folder: npy((1 << 31, 1 << 31)),
    "negative.npy": lambda folder: npy((-1,)),
    "objects.npy": lambda folder: b"\x93NUMPY\x01\x00\x26\x00{'descr':'O','fortran_order':0,'shape':1}",
    "huge.aedat4": with_number("a.aedat4", 14, 0x7FFF_FFFF),
    "cut.dat": lambda folder: b"% Version 2\n% Width 4294967295\n% Height 4294967295\n\x0c\x08" + bytes(8004),
    "wide.raw": lambda folder: b"% evt 3.0\n% format EVT3;width=99999999999;height=1\n% end\n" + bytes(8000),
    "line.csv": lambda folder: b"1," * 50_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_other_bombs_are_refused(name: str, tally: Tally, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BOMBS[name](tmp_path))
    before = peak_rss()
    with tally.attempt(), pytest.raises(SourceError, match=name):
        read_whole(tmp_path / name)
    assert peak_rss() - before < 1 << 29


def read_whole(path: Path) -> None:
    judged(open_recording(FileBytes(path), path.suffix), location=str(path))


def peak_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# A run ----------------------------------------------------------------------------------------------------------------


# Runs a command and prints the most memory of it and of its processes: those of other tests are not its own.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def test_the_run_goes_on_in_bounded_memory(tally: Tally, tmp_path: Path) -> None:
    """A folder of recordings, most of them bombs: those are named in the report, the others converted."""
    raw = tmp_path / "raw" / "ant"
    raw.mkdir(parents=True)
    for name in ("good.bin", "good too.h5"):
        WRITERS["records.bin" if name.endswith("bin") else "group.h5"](raw / name, make_events())
    bombs = {f"{number}.h5": make() for number, make in enumerate(MAT_BOMBS.values())}
    bombs |= {name: make(tmp_path) for name, make in BOMBS.items()}
    for name, data in bombs.items():
        (raw / name).write_bytes(data)
    command = [sys.executable, "-m", "dvs_transfer", "--quiet", "convert", "folder", tmp_path / "raw"]
    command += ["--out", tmp_path / "cache", "--size", "8", "--workers", "2"]
    with tally.attempt():
        measured = [sys.executable, "-c", MEASURED, *command]
        done = subprocess.run(measured, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stderr
        (path,) = list_stores(tmp_path / "cache")
        store = FrameStore(path)
        assert store.sample_id[store.valid].tolist() == ["ant/good", "ant/good too"]
        assert len(store) == 2 + len(bombs)
        assert int(done.stdout.split()[-1]) * 1024 < MAX_RSS
