"""The demo's data sets: laid out as the real ones, the same for the same seed, varied enough to be worth learning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from tonic.io import read_mnist_file

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.stages.demo import DemoConfig, run
from dvs_transfer.stages.demo.painting import HOLE, SHAPES, paint
from dvs_transfer.stages.demo.run import encode_mat
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.base import Events

TONIC_DTYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


def config(out: Path, **changed: Any) -> DemoConfig:
    return DemoConfig(out=out, images_per_class=2, pairs_per_class=1, **changed)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "raw"
    run(config(out))
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
    with ThreadPoolExecutor(3) as pool:
        yield from pool.map(function, items)


def test_photos_and_recordings_are_laid_out_alike(demo: Path) -> None:
    photos = sorted((demo / "Caltech101/101_ObjectCategories").glob("*/*.jpg"))
    names = [f"{path.parent.name}/{path.stem}" for path in photos]
    assert names == [f"{name}/image_{number:04d}" for name in sorted(SHAPES) for number in (1, 2)]
    for photo, name in zip(photos, names, strict=True):
        with Image.open(photo) as image:
            assert image.mode == "RGB"
            assert all(150 <= side <= 250 for side in image.size)
        events = read_mnist_file(str(demo / "N-Caltech101/Caltech101" / f"{name}.bin"), TONIC_DTYPE)
        assert len(events) > 5_000
        assert events["t"].max() <= 300_000
    assert len(list((demo / "N-Caltech101/Caltech101_annotations").glob("*/annotation_000[12].bin"))) == len(photos)


def test_pairs_are_laid_out_as_cep_dvs(demo: Path) -> None:
    lines = (demo / "CEP-DVS/pathFile.csv").read_text().splitlines()
    classes = [line.split()[4] for line in lines[1:]]
    assert sorted(classes) == sorted(SHAPES)
    for number in range(len(classes)):
        recording = loadmat(demo / f"CEP-DVS/data/MAT/img/{number}.mat")
        assert {recording[name].shape for name in ("x", "y", "ts", "p")} == {(len(recording["x"]), 1)}
        assert set(np.unique(recording["p"])) == {-1, 1}
        assert (np.diff(recording["ts"], axis=0) >= 0).all()
        with Image.open(demo / f"CEP-DVS/data/img/{number}.jpg") as image:
            assert image.mode == "RGB"
    assert not any("," in line or "#" in line for line in lines)


@pytest.mark.parametrize(
    ("source", "folder", "num_samples"),
    [
        ("caltech101", "Caltech101", 20),
        ("ncaltech101", "N-Caltech101", 20),
        ("cepdvs", "CEP-DVS", 10),
        ("cepdvs-images", "CEP-DVS", 10),
    ],
)
def test_the_real_data_sets_readers_read_it(demo: Path, source: str, folder: str, num_samples: int) -> None:
    reader = open_source(source, demo / folder)
    assert len(reader.samples) == num_samples
    assert reader.class_names == tuple(SHAPES)
    for sample in reader.samples:
        reader.decode(sample, reader.read_bytes(sample))


def test_pairs_are_other_drawings_than_the_photos(demo: Path) -> None:
    photos = {path.read_bytes() for path in demo.glob("Caltech101/*/*/*.jpg")}
    pairs = {path.read_bytes() for path in demo.glob("CEP-DVS/data/img/*.jpg")}
    assert len(photos) == 20
    assert len(pairs) == 10
    assert not photos & pairs


def test_workers_change_nothing_and_the_seed_changes_everything(demo: Path, tmp_path: Path) -> None:
    run(config(tmp_path / "threads"), in_threads)
    assert digests(tmp_path / "threads") == digests(demo)
    run(config(tmp_path / "other", seed=1))
    here, there = digests(demo), digests(tmp_path / "other")
    assert here.keys() == there.keys()
    same = {path for path in here if here[path] == there[path]}
    assert all(path.endswith("pathFile.csv") or "annotations" in path for path in same)


def test_finished_work_is_not_done_again_but_missing_files_are_made(tmp_path: Path) -> None:
    first = run(config(tmp_path / "raw"))
    before = digests(tmp_path / "raw")
    again = run(config(tmp_path / "raw"))
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert (again.num_photos, again.num_pairs, again.num_events) == (20, 10, first.num_events)
    for lost in ("CEP-DVS/data/MAT/img/3.mat", "N-Caltech101/Caltech101/cup/image_0002.bin"):
        (tmp_path / "raw" / lost).unlink()
        assert not run(config(tmp_path / "raw")).up_to_date
        assert digests(tmp_path / "raw") == before


def test_an_interrupted_run_is_finished_to_the_same_result(demo: Path, tmp_path: Path) -> None:
    def stop_in_second_step(function: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        if label != "simulate":
            yield from map(function, items)
        else:
            yield function(items[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path / "raw"), stop_in_second_step)
    assert not (tmp_path / "raw/demo.json").exists()
    run(config(tmp_path / "raw"))
    assert digests(tmp_path / "raw") == digests(demo)


def test_output_of_another_configuration_is_kept(demo: Path) -> None:
    before = digests(demo)
    with pytest.raises(ConfigError, match=r"demo\.images_per_class: 2 there, 3 here"):
        run(DemoConfig(out=demo, images_per_class=3, pairs_per_class=1))
    assert digests(demo) == before


def test_mat_files_hold_no_time_of_day() -> None:
    events = Events(
        np.array([3], np.uint16), np.array([4], np.uint16), np.array([300_000], np.int64), np.array([0], np.uint8)
    )
    data = encode_mat(events)
    assert data[:6] == b"MATLAB"
    assert b"Created" not in data[:128]
    assert data[124:128] == b"\x00\x01IM"  # version 1, little-endian: a MAT 5 header


@pytest.mark.parametrize("class_name", SHAPES)
def test_drawings_vary_and_show_their_object(class_name: str) -> None:
    pictures = [paint(class_name, np.random.default_rng(seed)) for seed in range(8)]
    assert len({picture.shape for picture in pictures}) > 1
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures)
    hues = {tuple((picture.mean(axis=(0, 1)) / 16).astype(int)) for picture in pictures}
    assert len(hues) > 4
    again = paint(class_name, np.random.default_rng(3))
    np.testing.assert_array_equal(again, pictures[3])


def test_outlines_stay_within_their_square_and_differ() -> None:
    outlines = set()
    for name, parts in SHAPES.items():
        points = np.concatenate([part.points for part in parts if part.tone != HOLE])
        assert np.abs(points).max() <= 1.0, name
        assert np.ptp(points, axis=0).max() > 1.5, name
        outlines.add(points.tobytes())
    assert len(outlines) == len(SHAPES) >= 10
    assert list(SHAPES) == sorted(SHAPES)
