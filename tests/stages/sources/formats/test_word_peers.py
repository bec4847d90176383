"""Formats of binary words, event by event beside readers that share no code with ours; those missing are skipped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faery
import numpy as np
import pytest
from numpy.typing import NDArray
from word_files import FORMATS, Row

from dvs_transfer.stages.sources.atis import decode_records
from dvs_transfer.stages.sources.base import AtisRecords, Events
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import FileBytes

Columns = dict[str, NDArray[Any]]


def by_faery(path: Path) -> Columns:
    packets = list(faery.events_stream_from_file(path, dimensions_fallback=(1280, 960)))
    return columns_of(np.concatenate(packets), p="on")


def by_expelliarmus(path: Path) -> Columns:
    expelliarmus = pytest.importorskip("expelliarmus", reason="needs the reader expelliarmus")
    encoding = {".dat": "dat", ".raw": "evt2"}[path.suffix]
    return columns_of(expelliarmus.Wizard(encoding=encoding).read(str(path)))


def by_evt3(path: Path) -> Columns:
    evt3 = pytest.importorskip("evt3", reason="needs the reader evt3")
    return {name: np.asarray(getattr(evt3.decode_file(str(path)), name)) for name in "xytp"}


def by_evutils(path: Path) -> Columns:
    io = pytest.importorskip("evutils.io", reason="needs the reader evutils")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words that it does not know
        with io.EventReader(path) as reader:
            return columns_of(np.concatenate([np.array(part) for part in reader]))


def by_evlib(path: Path) -> Columns:
    pytest.importorskip("polars", reason="needs polars, as evlib does")
    evlib = pytest.importorskip("evlib", reason="needs the reader evlib")
    frame = evlib.load_events(str(path), sort=False).collect()
    columns = {name: frame[name].to_numpy() for name in "xy"}
    return columns | {"t": frame["t"].to_numpy().astype(np.int64), "p": frame["polarity"].to_numpy() > 0}


def by_tonic(path: Path) -> Columns:
    from tonic.io import read_mnist_file

    return columns_of(read_mnist_file(str(path), dtype=np.dtype([(name, int) for name in "xytp"])))


def columns_of(events: Any, p: str = "p") -> Columns:
    return {"x": events["x"], "y": events["y"], "t": events["t"], "p": events[p]}


def ours(path: Path) -> Events:
    recording = open_recording(FileBytes(path), path.suffix)
    events = decode_records(recording) if isinstance(recording, AtisRecords) else recording
    assert isinstance(events, Events)
    return events


def assert_equal(found: Events, expected: Columns) -> None:
    assert len(found) > 0
    for name in "xytp":
        np.testing.assert_array_equal(getattr(found, name), expected[name].astype(np.int64), err_msg=name)


# Not evutils of EVT 3: it takes a VECT_8 behind one VECT_12 for damage, which the specification does not.
WITNESSES: list[tuple[str, Callable[[Path], Columns]]] = [
    ("dat1", by_faery),
    ("dat2", by_faery),
    ("dat2", by_expelliarmus),
    ("dat2", by_evutils),
    ("evt2", by_faery),
    ("evt2", by_expelliarmus),
    ("evt2", by_evutils),
    ("evt2", by_evlib),
    ("evt2.1", by_evlib),
    ("evt2.1 legacy", by_evutils),
    ("evt3", by_faery),
    ("evt3", by_evt3),
    ("evt3", by_evlib),
    ("evt4", by_evutils),
    ("aedat3.1", by_evutils),
    ("es dvs", by_faery),
]


@pytest.mark.parametrize(("name", "witness"), WITNESSES)
def test_another_reader_reads_the_same_events(name: str, witness: Callable[[Path], Columns], tmp_path: Path) -> None:
    """Of 20 s: the counters of EVT 3 overflow."""
    rng = np.random.default_rng(0)
    given = FORMATS[name]
    width, height = (min(120, given.x_limit), min(100, given.y_limit))
    rows: list[Row] = []
    for time in np.sort(rng.integers(0, 20_000_000, 4000)).tolist():
        x, y, p = int(rng.integers(width - 40)), int(rng.integers(height)), int(rng.integers(2))
        rows += [(x + step, y, time, p) for step in sorted({0, *rng.integers(0, 39, int(rng.integers(3))).tolist()})]
    content = given.write(rows)
    if name.startswith("evt"):  # some readers want the size
        version = {"2": "2", "2.1": "21", "3": "3", "4": "4"}[name[3:].split()[0]]
        more = f"% format EVT{version};height=960;width=1280\n% geometry 1280x960\n% end"
        content = content.replace(b"% end", more.encode(), 1)
    path = tmp_path / f"a{given.suffix}"
    path.write_bytes(content)
    found = ours(path)
    assert_equal(found, {name: np.array(column) for name, column in zip("xytp", zip(*rows, strict=True), strict=True)})
    assert_equal(found, witness(path))


@pytest.fixture
def recordings(shared_data: Path) -> Path:
    folder = shared_data / "recordings"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


REAL: list[tuple[str, Callable[[Path], Columns]]] = [
    ("evt2.raw", by_expelliarmus),
    ("evt2.raw", by_evutils),
    ("evt3_gen41.raw", by_evt3),
    ("evt3_gen41.raw", by_evutils),
    ("ncars_sample.dat", by_expelliarmus),
    ("ncars_sample.dat", by_evutils),
    ("dvs.es", by_faery),
    ("ncaltech101_faces_easy_0001.bin", by_tonic),
    ("nmnist_sample.bin", by_tonic),
]


@pytest.mark.parametrize(("name", "witness"), REAL)
def test_another_reader_reads_the_same_events_of_a_camera(
    name: str, witness: Callable[[Path], Columns], recordings: Path
) -> None:
    assert_equal(ours(recordings / name), witness(recordings / name))


def test_where_readers_of_evt3_differ_the_words_decide(recordings: Path) -> None:
    """Each event has the time of the last EVT_TIME_LOW, also where it is smaller than the one before (see `evt3`);
    faery keeps the larger one."""
    path = recordings / "evt3_gen41.raw"
    found, expected = ours(path), by_faery(path)
    late = expected["t"].astype(np.int64) - found.t
    assert (len(late), int((late != 0).sum()), int(late.min()), int(late.max())) == (219_596, 1_455, 0, 11)
    for name in "xyp":
        np.testing.assert_array_equal(getattr(found, name), expected[name], err_msg=name)
    first = int(np.flatnonzero(late)[0])
    content = path.read_bytes()
    words = np.frombuffer(content[content.index(b"system_ID 48\n") + 13 :], "<u2")
    times = np.flatnonzero(words >> 12 == 6)
    backwards = times[1:][np.diff(words[times].astype(int)) == -11]  # not where the 12 bits overflow
    at = backwards[0]
    assert [hex(word) for word in words[at - 2 : at + 1]] == ["0x8b2d", "0x632b", "0x6320"]
    assert (int(found.t[first]), int(expected["t"][first])) == (0xB2D320, 0xB2D32B)
