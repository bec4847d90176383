"""Recordings that cameras made and others published: what is known of them, and the share that frames show of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.formats.recordings import identify, open_recording
from dvs_transfer.stages.sources.random_access import FileBytes

# Number of events and duration, us, as their publishers state them or another reader gives them; the extent in pixels
# and the share of the events in the method's frames, as docs/datasets/your-own.md has them.
KNOWN = {
    "dvxplorer.aedat4": (111_954, 589_917, [320, 240], 0.121),
    "evt2.raw": (539_481, 50_000, [540, 458], 0.036),
    "evt3_gen41.raw": (219_596, 8_801, [1280, 720], 0.0099),
    "ncars_sample.dat": (2_009, 99_952, [78, 42], 0.9995),
    "dvs.es": (473_225, 999_000, [320, 240], 0.1151),
    "nmnist_sample.bin": (4_325, 310_521, [34, 34], 1),
    "ncaltech101_faces_easy_0001.bin": (67_445, 299_358, [151, 173], 0.328),
}


@dataclass(frozen=True)
class Row:
    """Of a file: its format, the camera, and its events, us and pixels, or why it is refused."""

    format: str
    camera: str
    num_events: int = 0
    first_us: int = 0
    last_us: int = 0
    extent: tuple[int, int] = (0, 0)  # of the pixels with events
    sensor_size: tuple[int, int] | None = None  # where the file states it
    refused: str = ""


TABLE = {
    "aedat2_header_only.aedat": Row("aedat2", "jAER", refused="no event in it"),
    "dvs.es": Row("es", "DVS, made by a program", 473_225, 0, 999_000, (320, 240), (320, 240)),
    "dvxplorer.aedat4": Row(
        *("aedat4", "DVXplorer", 111_954, 1_605_537_493_718_345, 1_605_537_494_308_262, (320, 240), (320, 240))
    ),
    "evt2.raw": Row("evt", "Prophesee, third generation", 539_481, 1_317_888, 1_367_888, (540, 458)),
    "evt3_gen41.raw": Row("evt", "Prophesee Gen4.1", 219_596, 11_718_656, 11_727_457, (1280, 720)),
    "ncars_sample.dat": Row("dat", "ATIS", 2_009, 0, 99_952, (78, 42)),
    "ncaltech101_faces_easy_0001.bin": Row("atis", "ATIS", 67_445, 6, 299_364, (151, 173)),
    "nmnist_sample.bin": Row("atis", "ATIS", 4_325, 654, 311_175, (34, 34)),
    "stmnist_sample.mat": Row("mat5", "tactile sensor", 2_346, 196_626, 895_745, (8, 6), (10, 10)),
}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_file_has_its_row(name: str, shared_data: Path) -> None:
    path = shared_data / "recordings" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    row = TABLE[name]
    assert identify(FileBytes(path), path.suffix) == row.format
    recording = open_recording(FileBytes(path), path.suffix)
    if row.refused:
        with pytest.raises(SourceError, match=row.refused):
            judged(recording, location=name)
        return
    events = judged(recording, location=name)
    assert (len(events), int(events.t[0]), int(events.t[-1])) == (row.num_events, row.first_us, row.last_us)
    assert (np.ptp(events.x) + 1, np.ptp(events.y) + 1) == row.extent
    assert recording.sensor_size == row.sensor_size


def test_the_table_has_every_file(shared_data: Path) -> None:
    if not (shared_data / "recordings").is_dir():
        pytest.skip(f"needs {shared_data / 'recordings'}")
    found = {path.name for path in (shared_data / "recordings").iterdir()} - {"README.md"}
    assert found == TABLE.keys()


@pytest.fixture(scope="module")
def raw(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    for number, name in enumerate(KNOWN):
        if not (shared_data / "recordings" / name).is_file():
            pytest.skip(f"needs {shared_data / 'recordings' / name}")
        (folder / "raw" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(shared_data / "recordings" / name, folder / "raw" / "ab"[number % 2] / name)
    return folder / "raw"


@pytest.mark.parametrize("resize", ["bilinear", "sum"])
def test_real_recordings(raw: Path, resize: str) -> None:
    frames = FramesConfig(resize=resize)
    report = conversion.run(ConvertConfig(source="folder", raw=raw, out=raw.parent, frames=frames))
    assert report.quarantined == {}
    store = FrameStore(report.path)
    for row, sample_id in enumerate(store.sample_id.tolist()):
        name = next(name for name in KNOWN if name.startswith(sample_id[2:]))
        num_events, duration_us, extent, share = KNOWN[name]
        assert store.column("num_events")[row] == num_events
        assert store.column("duration_us")[row] == duration_us
        assert store.column("sensor_size")[row].tolist() == extent
        found = store.column("num_in_frames")[row] / num_events
        assert found == pytest.approx(share if resize == "bilinear" else 1, abs=6e-4 if resize == "bilinear" else 2e-3)
    assert bool(report.warnings) == (resize == "bilinear")


def test_a_real_recording_in_its_published_layout(raw: Path, tmp_path: Path) -> None:
    name = "ncaltech101_faces_easy_0001.bin"
    (tmp_path / "Caltech101" / "Faces_easy").mkdir(parents=True)
    shutil.copy(next(raw.rglob(name)), tmp_path / "Caltech101" / "Faces_easy" / "image_0001.bin")
    report = conversion.run(ConvertConfig(source="ncaltech101", raw=tmp_path, out=tmp_path))
    assert (report.num_events, report.warnings) == (67_445, ())
    assert report.share_in_frames is not None
    assert report.share_in_frames.median == pytest.approx(0.328, abs=6e-4)
