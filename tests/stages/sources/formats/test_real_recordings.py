"""Recordings that cameras made and others published: what is known of them, and the share that frames show of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames.spec import FramesConfig

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
