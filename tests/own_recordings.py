"""Recordings in every format that a user's own folder may hold, each written by the library that knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faery
import h5py
import hdf5plugin
import numpy as np
from cifar_data import aedat2, dvs128
from scipy.io import savemat
from word_files import ATIS, Rows, aedat31, es, evt4, evt21

from dvs_transfer.stages.sources.atis import encode_records
from dvs_transfer.stages.sources.base import Events, EventStream
from dvs_transfer.stages.sources.formats.columns import assumed_order

SENSOR = (64, 48)


def make_events(num_events: int = 2000, seed: int = 0, sensor_size: tuple[int, int] = SENSOR) -> Events:
    """Random events of 0.3 s; the first and the last pixel are among them."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, side, num_events).astype(np.uint16) for side in sensor_size)
    x[0], y[0], x[-1], y[-1] = 0, 0, sensor_size[0] - 1, sensor_size[1] - 1
    t = np.sort(rng.integers(0, 300_000, num_events)).astype(np.int64)
    return Events(x, y, t, rng.integers(0, 2, num_events).astype(np.uint8))


def told(recording: Events | EventStream) -> str | None:
    """The order of columns that was assumed of a recording."""
    return assumed_order(recording.assumed)


def _faery(**options: Any) -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        array = np.zeros(len(events), faery.EVENTS_DTYPE)
        array["t"], array["x"], array["y"], array["on"] = events.t, events.x, events.y, events.p
        faery.events_stream_from_array(array, SENSOR).to_file(path, **options)

    return write


def _bin(path: Path, events: Events) -> None:
    path.write_bytes(encode_records(events))


def _aedat2(path: Path, events: Events) -> None:
    """Of a DVS128, whose first pixel is the lower right one."""
    columns = zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist(), strict=True)
    path.write_bytes(aedat2([(dvs128(127 - x, 127 - y, 1 - p), t) for x, y, t, p in columns]))


def _words(write: Callable[[Rows], bytes]) -> Callable[[Path, Events], None]:
    def written(path: Path, events: Events) -> None:
        path.write_bytes(write(list(zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True))))

    return written


def _hdf5(path: Path, events: Events) -> None:
    """As DSEC and many others: a group of columns."""
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, values in (("x", events.x), ("y", events.y), ("t", events.t), ("p", events.p)):
            group.create_dataset(name, data=values, compression="gzip", shuffle=True, chunks=(min(200, len(events)),))


def _hdf5_prophesee(path: Path, events: Events) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=as_structured(events, p="<i2"))
        file.create_dataset("EXT_TRIGGER/events", data=np.zeros(3, [("p", "<i2"), ("t", "<i8"), ("id", "<i2")]))


def _hdf5_columns(path: Path, events: Events) -> None:
    """Other names, columns of shape (n, 1), seconds, signs."""
    with h5py.File(path, "w") as file:
        for name, values in (("xs", events.x), ("ys", events.y), ("ts", events.t * 1e-6), ("ps", events.p * 2.0 - 1)):
            file.create_dataset(name, data=values[:, None])


def _mat73(path: Path, events: Events) -> None:
    """HDF5 behind 512 bytes of MATLAB's own, with rows where MATLAB has columns."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (("x", events.x), ("y", events.y), ("ts", events.t), ("p", events.p)):
            file.create_dataset(name, data=values[None, :])
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _npz(path: Path, events: Events) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, x=events.x, y=events.y, timestamps=events.t, polarity=events.p == 1)


def _npz_structured(path: Path, events: Events) -> None:
    with path.open("wb") as file:
        np.savez(file, events=as_structured(events))


def _npy(path: Path, events: Events) -> None:
    with path.open("wb") as file:
        np.save(file, as_structured(events))


def _mat(compressed: bool) -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        signs = events.p.astype(np.int8) * 2 - 1
        with path.open("wb") as file:
            savemat(file, {"x": events.x, "y": events.y, "ts": events.t, "pol": signs}, do_compression=compressed)

    return write


def _text(header: str = "", order: str = "txyp", separator: str = ",") -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        table = np.stack([getattr(events, name).astype(np.int64) for name in order], axis=1)
        with path.open("w") as file:
            np.savetxt(file, table, "%d", delimiter=separator, header=header, comments="")

    return write


def _text_seconds(path: Path, events: Events) -> None:
    """As the Event Camera Dataset of the University of Zurich, with the line that E2VID expects before it."""
    with path.open("w") as file:
        file.write(f"{SENSOR[0]} {SENSOR[1]}\n")
        for x, y, t, p in zip(events.x, events.y, events.t, events.p, strict=True):
            file.write(f"{t * 1e-6:.9f} {x} {y} {p}\n")


def as_structured(events: Events, p: str = "<u1") -> Any:
    array = np.zeros(len(events), [("x", "<u2"), ("y", "<u2"), ("p", p), ("t", "<i8")])
    for name in "xypt":
        array[name] = getattr(events, name)
    return array


def _table(write: Callable[[Path, Any], None], order: str) -> Callable[[Path, Events], None]:
    """Four columns without names."""

    def write_columns(path: Path, events: Events) -> None:
        write(path, np.stack([getattr(events, name).astype(np.float32) for name in order], axis=1))

    return write_columns


def _hdf5_filtered(path: Path, events: Events) -> None:
    """A column for each of the filters that `hdf5plugin` brings."""
    filters = (hdf5plugin.Blosc(cname="zstd"), hdf5plugin.LZ4(), hdf5plugin.Bitshuffle(), hdf5plugin.Zstd())
    with h5py.File(path, "w") as file:
        for name, options in zip("xytp", filters, strict=True):
            file.create_dataset(f"events/{name}", data=getattr(events, name), chunks=(100,), **options)


def _hdf5_table(path: Path, table: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("events", data=table.astype(np.uint32), compression="gzip", chunks=(100, 4))


def _tactile(path: Path, events: Events) -> None:
    """As ST-MNIST, of 10 x 10 taxels."""
    matrix = np.zeros((101, len(events)))
    matrix[events.x % 10 + 10 * (events.y % 10), np.arange(len(events))] = events.p * 2.0 - 1
    matrix[100] = events.t * 1e-6
    savemat(path, {"spiketrain": matrix}, do_compression=True)


WRITERS: dict[str, Callable[[Path, Events], None]] = {
    "records.bin": _bin,
    "jaer.aedat": _aedat2,
    "a.aedat4": _faery(),
    "one.dat": _faery(version="dat1"),
    "two.dat": _faery(version="dat2"),
    "two.raw": _faery(version="evt2"),
    "three.raw": _faery(version="evt3"),
    "twoone.raw": _words(evt21),
    "four.raw": _words(evt4),
    "caer.aedat": _words(aedat31),
    "dvs.es": _faery(zero_t0=False),
    "atis.es": _words(lambda rows: es(rows, SENSOR, ATIS)),
    "group.h5": _hdf5,
    "prophesee.hdf5": _hdf5_prophesee,
    "columns.h5": _hdf5_columns,
    "columns.npz": _npz,
    "structured.npz": _npz_structured,
    "structured.npy": _npy,
    "five.mat": _mat(compressed=True),
    "plain.mat": _mat(compressed=False),
    "seven.mat": _mat73,
    "faery.csv": _faery(file_type="csv"),
    "plain.csv": _text(),
    "named.csv": _text("x;y;polarity;t", "xypt", ";"),
    "blank.txt": _text("# t x y p", separator=" "),
    "seconds.txt": _text_seconds,
}
"""File name -> writes events of `SENSOR` pixels to a path."""

OTHER_WRITERS: dict[str, Callable[[Path, Events], None]] = {
    "table.npy": _table(np.save, "xytp"),
    "table.npz": _table(lambda path, table: np.savez(path, table), "xytp"),
    "table.h5": _table(_hdf5_table, "txyp"),
    "filtered.h5": _hdf5_filtered,
    "tactile.mat": _tactile,
    "prophesee.csv": _text("%geometry:64,48", "xypt"),
    "units.csv": _text("t [us], x [px], y [px], p"),
}
"""Of recordings whose columns have no names, and others; more of what `WRITERS` has, whose output is kept."""

STATED_SIZES = dict.fromkeys(("jaer.aedat", "caer.aedat"), (128, 128)) | dict.fromkeys(
    ("a.aedat4", "one.dat", "two.dat", "two.raw", "three.raw", "dvs.es", "atis.es", "faery.csv", "seconds.txt"), SENSOR
)
"""The sensor size that a file states, where it does."""
