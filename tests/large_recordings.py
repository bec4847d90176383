"""Convert recordings of some gigabytes in every source, and print the memory that it took (docs/performance.md).

    python tests/large_recordings.py GIGABYTES FOLDER [NAME ...]

Each (through tonic: of 32 MiB at most) is written to FOLDER, converted by `dvs-transfer convert` with one worker, and
deleted. Memory is the resident memory of the command and of the processes that it starts, together, looked at
every 20 ms; the file's pages in the system's cache are not in it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import faery
import h5py
import numpy as np
import psutil
from fault_injection import command_line, start
from scipy.io import savemat

from dvs_transfer.stages.sources.base import Events
from dvs_transfer.stages.sources.tonic_datasets import MAX_FILE_BYTES

PIECE = 1 << 22  # events
DURATION_US = 8_000_000  # what an ATIS record's 23 bits can hold
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pieces(num_events: int, side: int = 128) -> list[Callable[[], Events]]:
    """Random events, made piece by piece."""

    def make(first: int) -> Events:
        count = min(PIECE, num_events - first)
        rng = np.random.default_rng(first)
        x, y = (rng.integers(0, side, count).astype(np.uint16) for _ in "xy")
        t = (first + np.arange(count)) * DURATION_US // num_events
        return Events(x, y, t, rng.integers(0, 2, count).astype(np.uint8))

    return [lambda first=first: make(first) for first in range(0, num_events, PIECE)]  # type: ignore[misc]


def columns(num_bytes: int) -> dict[str, np.ndarray]:
    """Of 13 bytes an event, as CEP-DVS names them."""
    held = [make() for make in pieces(num_bytes // 13)]
    x, y, t, p = (np.concatenate([getattr(events, name) for events in held]) for name in "xytp")
    return {"x": x, "y": y, "ts": t.astype(np.float64), "p": p.astype(np.int8) * 2 - 1}


def write_atis(path: Path, num_bytes: int, side: int = 128) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for make in pieces(num_bytes // 5, side):
            events = make()
            records = np.empty((len(events), 5), np.uint8)
            records[:, 0], records[:, 1] = events.x, events.y
            records[:, 2] = events.p << 7 | events.t >> 16
            records[:, 3], records[:, 4] = events.t >> 8 & 0xFF, events.t & 0xFF
            file.write(records)


def write_zip(path: Path, num_bytes: int) -> None:
    plain = path.parent / "plain" / "image_0001.bin"
    write_atis(plain, num_bytes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(plain, "Caltech101/ant/image_0001.bin")
    shutil.rmtree(plain.parent)


def write_aedat2(path: Path, num_bytes: int) -> None:
    for name in CLASSES:
        (path / name).mkdir(parents=True)
        with (path / name / f"cifar10_{name}_0.aedat").open("wb") as file:
            file.write(b"#!AER-DAT2.0\r\n")
            for make in pieces(num_bytes // 8 if name == CLASSES[0] else 100):
                events = make()
                words = np.empty((len(events), 2), ">u4")
                words[:, 0] = events.y.astype(np.uint32) << 8 | events.x << 1 | events.p
                words[:, 1] = events.t
                file.write(words)


def write_cepdvs(path: Path, num_bytes: int, version: str) -> None:
    folder = path / "data" / "MAT" / "img"
    folder.mkdir(parents=True)
    (path / "pathFile.csv").write_text("number image events origin class\n0 a b c fish\n")
    values = columns(num_bytes)
    if version == "7.3":
        with h5py.File(folder / "0.mat", "w", userblock_size=512) as file:
            for name, column in values.items():
                file.create_dataset(name, data=column[None, :], chunks=(1, 1 << 16))
        with (folder / "0.mat").open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    else:
        savemat(folder / "0.mat", values, do_compression=version == "5 compressed")


def write_faery(path: Path, num_events: int, **options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(num_events, faery.EVENTS_DTYPE)
    for number, make in enumerate(pieces(num_events)):
        events = make()
        part = array[number * PIECE : number * PIECE + len(events)]
        part["x"], part["y"], part["t"], part["on"] = events.x, events.y, events.t, events.p
    faery.events_stream_from_array(array, (346, 260)).to_file(path, **options)


def write_npz(path: Path, num_bytes: int) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        np.savez(file, **columns(num_bytes) | {"ts": np.arange(num_bytes // 13) * DURATION_US * 13 // num_bytes})


def write_nomniglot(path: Path, num_bytes: int) -> None:
    """20 drawings of 10 ms in a recording that goes on between them; 16 bytes an event."""
    folder = path / "dvs_background" / "Greek" / "character01"
    folder.mkdir(parents=True)
    write_faery(folder / "0001.aedat4", num_bytes // 16)
    starts = np.linspace(0, DURATION_US - 20_000, 20).astype(int)
    rows = [f"{number},{start},{start + 10_000}" for number, start in enumerate(starts)]
    (folder / "0001.csv").write_text("\n".join(["number,start,end", *rows]) + "\n")


WRITERS: Mapping[str, tuple[str, str, Callable[[Path, int], None]]] = {
    "N-Caltech101": ("ncaltech101", "", lambda path, size: write_atis(path / "Caltech101/ant/image_0001.bin", size)),
    "N-Caltech101, deflated in its archive": ("ncaltech101", "Caltech101.zip", write_zip),
    "N-MNIST": ("nmnist", "", lambda path, size: write_atis(path / "Train/0/00001.bin", size, side=34)),
    "CIFAR10-DVS": ("cifar10dvs", "", write_aedat2),
    "CEP-DVS, MAT 5": ("cepdvs", "", lambda path, size: write_cepdvs(path, size, "5")),
    "CEP-DVS, MAT 5 compressed": ("cepdvs", "", lambda path, size: write_cepdvs(path, size, "5 compressed")),
    "CEP-DVS, MAT 7.3": ("cepdvs", "", lambda path, size: write_cepdvs(path, size, "7.3")),
    "N-Omniglot": ("nomniglot", "", write_nomniglot),
    "your own, AEDAT 4": ("folder", "", lambda path, size: write_faery(path / "a/a.aedat4", size // 16)),
    "your own, DAT": ("folder", "", lambda path, size: write_faery(path / "a/a.dat", size // 8, version="dat2")),
    "your own, EVT 2": ("folder", "", lambda path, size: write_faery(path / "a/a.raw", size // 4, version="evt2")),
    "your own, EVT 3": ("folder", "", lambda path, size: write_faery(path / "a/a.raw", size // 6, version="evt3")),
    "your own, text": ("folder", "", lambda path, size: write_faery(path / "a/a.csv", size // 17)),
    "your own, NumPy": ("folder", "", lambda path, size: write_npz(path / "a/a.npz", size)),
    "N-MNIST through tonic": (
        "tonic:NMNIST",
        "",
        lambda path, size: write_atis(path / "NMNIST/Train/0/00001.bin", min(size, MAX_FILE_BYTES), side=34),
    ),
}


def convert(source: str, raw: Path, out: Path) -> tuple[int, float, int]:
    """Bytes of resident memory at most, seconds, events."""
    arguments = ["convert", source, str(raw), "--out", str(out), "--workers", "1", "--num-bins", "5", "--size", "32"]
    began, peak = time.monotonic(), 0
    command = start(command_line(*arguments, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while command.poll() is None:
        peak = max(peak, sum(memory_of(process) for process in family(command.pid)))
        time.sleep(0.02)
    told, errors = command.communicate()
    if command.returncode or json.loads(told)["quarantined"]:
        raise SystemExit(f"{source}: {told.decode()} {errors.decode()}")
    return peak, time.monotonic() - began, json.loads(told)["num_events"]


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    num_bytes, folder = int(float(sys.argv[1]) * 1e9), Path(sys.argv[2])
    for name, (source, file, write) in WRITERS.items():
        if sys.argv[3:] and name not in sys.argv[3:]:
            continue
        raw = folder / "raw"
        raw.mkdir(parents=True)
        write(raw / file, num_bytes)
        size = max(path.stat().st_size for path in raw.rglob("*") if path.is_file())
        peak, seconds, num_events = convert(source, raw, folder / "out")
        figures = f"{size / 1e9:.2f} GB, {num_events / 1e6:,.0f} million events, {seconds:.0f} s, {peak / 1e6:,.0f} MB"
        print(f"{name}: {figures}", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
