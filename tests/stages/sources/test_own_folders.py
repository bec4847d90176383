"""Folders of a user's own: what is a class and a sample, what the simulator left, archives, worker processes."""

from __future__ import annotations

import gzip
import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from own_recordings import WRITERS, make_events
from PIL import Image
from recordings import judged

from dvs_transfer.cache.errors import ConfigError, SourceError
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.simulation import SimulateConfig, SimulationConfig
from dvs_transfer.stages.simulation import run as simulate
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.base import AtisRecords, Events


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two classes with a recording each, and what is no sample."""
    folder = tmp_path / "recordings"
    for number, (class_name, file) in enumerate((("b c", "one.dat"), ("a", "columns.npz"))):
        (folder / class_name).mkdir(parents=True)
        WRITERS[file](folder / class_name / file, make_events(seed=number))
    (folder / "a" / ".hidden").write_text("x")
    (folder / "notes.txt").write_text("x")
    return folder


def test_classes_and_samples(recordings: Path) -> None:
    source = open_source("folder", recordings)
    assert source.class_names == ("a", "b c")
    assert [(sample.sample_id, sample.label) for sample in source.samples] == [("a/columns", 0), ("b c/one", 1)]
    for number, sample in enumerate(source.samples):
        events = source.decode(sample, source.read_content(sample))
        assert isinstance(events, Events)
        np.testing.assert_array_equal(events.t, make_events(seed=1 - number).t)
        held = source.decode(sample, source.read_bytes(sample))
        assert isinstance(held, Events)
        np.testing.assert_array_equal(held.t, events.t)


@pytest.mark.parametrize("name", ["plain.csv", "records.bin", "two.raw", "structured.npy", "columns.h5", "five.mat"])
def test_a_file_of_several_gzip_members_is_read_to_its_end(name: str, recordings: Path, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, make_events(seed=7))
    whole = (tmp_path / name).read_bytes()
    cuts = [0, 1, len(whole) // 3, len(whole) // 3, len(whole) // 2, len(whole)]
    members = [gzip.compress(whole[start:end]) for start, end in pairwise(cuts)]
    (recordings / "a" / "columns.npz").unlink()
    (recordings / "a" / f"{name}.gz").write_bytes(b"".join(members))
    source = open_source("folder", recordings)
    assert source.samples[0].sample_id == f"a/{name.partition('.')[0]}", "as a photo of that name is called"
    recording = source.decode(source.samples[0], source.read_content(source.samples[0]))
    events = judged(recording)
    for column in "xytp":
        np.testing.assert_array_equal(getattr(events, column), getattr(make_events(seed=7), column))


def test_numbers_and_versions_belong_to_a_gzipped_file_s_name(recordings: Path) -> None:
    (recordings / "a" / "columns.npz").unlink()
    for file in ("rec.v1.gz", "rec.v2.gz", "rec_0.5.gz", "rec.gz", "rec_1.csv.GZ"):
        (recordings / "a" / file).write_bytes(gzip.compress(b"0,1,1,1\n"))
    found = [sample.sample_id for sample in open_source("folder", recordings).samples]
    assert found[:-1] == ["a/rec", "a/rec.v1", "a/rec.v2", "a/rec_0.5", "a/rec_1"]


def test_an_archive_with_a_folder_of_its_own(recordings: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "own"), "zip", tmp_path, "recordings"))
    source = open_source("folder", archive)
    assert [sample.sample_id for sample in source.samples] == ["a/columns", "b c/one"]
    events = source.decode(source.samples[1], source.read_content(source.samples[1]))
    assert isinstance(events, Events)
    np.testing.assert_array_equal(events.t, make_events(seed=0).t)


def test_a_worker_process_keeps_the_time_unit(recordings: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source("folder", recordings, "ms")))
    events = source.decode(source.samples[0], source.read_content(source.samples[0]))
    np.testing.assert_array_equal(events.t, make_events(seed=1).t * 1000)
    states_its_unit = source.decode(source.samples[1], source.read_content(source.samples[1]))
    np.testing.assert_array_equal(states_its_unit.t, make_events(seed=0).t)


def test_a_time_unit_for_a_source_that_states_its_own_is_refused(recordings: Path) -> None:
    with pytest.raises(ConfigError, match="time_unit = ms: is for the source folder; nmnist states its unit"):
        open_source("nmnist", recordings, "ms")


@pytest.mark.parametrize("name", ["folder", "image-folder"])
def test_folders_without_class_folders_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"flat: expected <class>/<name>.*found a\.png"):
        open_source(name, tmp_path / "flat")


def test_two_files_with_one_id_are_refused(recordings: Path) -> None:
    (recordings / "a" / "columns.raw").write_bytes(b"x")
    with pytest.raises(SourceError, match="has the same id, a/columns, as"):
        open_source("folder", recordings)


SUFFIXES = ("bmp", "gif", "jpg", "png", "webp")


def test_a_file_that_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (20, 30)).save(tmp_path / "images" / "a" / "1.png")
    (tmp_path / "images" / "a" / "2.heic").write_bytes(b"another format")
    (tmp_path / "images" / "a" / ".hidden").touch()
    report = conversion.run(ConvertConfig(source="image-folder", raw=tmp_path / "images", out=tmp_path))
    assert report.num_samples == 1
    assert list(report.quarantined) == ["a/2"]
    assert "2.heic: 14 bytes are not a whole JPEG" in report.quarantined["a/2"]


def test_images_of_any_format_and_the_simulator_s_recordings_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for class_name in ("a", "b"):
        (tmp_path / "images" / class_name).mkdir(parents=True)
        for suffix in SUFFIXES:
            picture = Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8))
            picture.save(tmp_path / "images" / class_name / f"{suffix}_1.{suffix}")
    images = open_source("image-folder", tmp_path / "images")
    ids = [f"{class_name}/{suffix}_1" for class_name in "ab" for suffix in SUFFIXES]
    assert [sample.sample_id for sample in images.samples] == ids
    for sample in images.samples:
        image = images.decode(sample, images.read_bytes(sample))
        assert isinstance(image, np.ndarray)
        assert image.shape == (20, 30, 3)
    sensor = SimulationConfig(sensor_width=32, sensor_height=32)
    simulate(SimulateConfig(images=tmp_path / "images", out=tmp_path / "out", simulation=sensor))
    for name in ("folder", "ncaltech101"):
        recorded = open_source(name, tmp_path / "out")
        assert [sample.sample_id for sample in recorded.samples] == ids
        sample = recorded.samples[0]
        assert isinstance(recorded.decode(sample, recorded.read_content(sample)), AtisRecords)
