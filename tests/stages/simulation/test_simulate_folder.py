"""A folder of images becomes a data set, whole or not at all, the same however it is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tonic.io import read_mnist_file

from dvs_transfer.cache.errors import ConfigError, SourceError
from dvs_transfer.stages.simulation import SimulateConfig, SimulationConfig, run

SMALL = SimulationConfig(sensor_width=40, sensor_height=34)
TONIC_DTYPE = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for class_name, count in (("ant", 20), ("Zebra", 2)):
        folder = tmp_path / "images" / class_name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"image_{number:04d}.png")
    return tmp_path / "images"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(function, items)


def test_layout_is_n_caltech101s(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(SimulateConfig(images=images, out=out, simulation=SMALL))
    assert report.num_recordings == 22
    assert report.quarantined == report.ignored == ()
    recordings = sorted(out.glob("Caltech101/*/*.bin"))
    assert [f"{path.parent.name}/{path.name}" for path in recordings[:2]] == [
        "Zebra/image_0001.bin",
        "Zebra/image_0002.bin",
    ]
    events = [read_mnist_file(str(path), TONIC_DTYPE) for path in recordings]
    assert sum(len(recording) for recording in events) == report.num_events
    assert max(recording["x"].max() for recording in events) < 40
    assert max(recording["y"].max() for recording in events) < 34
    box = np.fromfile(out / "Caltech101_annotations/ant/annotation_0001.bin", "<i2")
    assert box.tolist() == [2, 5, 0, 0, 33, 0, 33, 20, 0, 20, 0, 0] * 2  # all of 40 x 27 pixels less 6
    assert len(list(out.glob("Caltech101_annotations/*/*.bin"))) == 22


def test_workers_change_nothing(images: Path, tmp_path: Path) -> None:
    run(SimulateConfig(images=images, out=tmp_path / "one", simulation=SMALL))
    run(SimulateConfig(images=images, out=tmp_path / "four", simulation=SMALL), in_threads)
    assert digests(tmp_path / "one") == digests(tmp_path / "four")


def test_finished_work_is_not_done_again(images: Path, tmp_path: Path) -> None:
    config = SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL)
    first = run(config)
    before = digests(config.out)
    stamps = {path: path.stat().st_mtime_ns for path in config.out.rglob("*.bin")}
    again = run(config)
    assert again.up_to_date
    assert not first.up_to_date
    assert (again.num_recordings, again.num_events) == (first.num_recordings, first.num_events)
    assert stamps == {path: path.stat().st_mtime_ns for path in config.out.rglob("*.bin")}
    next(config.out.glob("Caltech101/ant/*.bin")).unlink()
    assert not run(config).up_to_date
    assert digests(config.out) == before


def test_an_interrupted_run_is_finished_to_the_same_result(images: Path, tmp_path: Path) -> None:
    def stop_after_one(function: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        yield function(items[0])
        raise KeyboardInterrupt

    config = SimulateConfig(images=images, out=tmp_path / "stopped", simulation=SMALL)
    with pytest.raises(KeyboardInterrupt):
        run(config, stop_after_one)
    assert not (config.out / "simulation.json").exists()
    (config.out / "Caltech101" / "ant" / "image_0001.bin.0123.tmp").write_bytes(b"half")
    run(config)
    run(SimulateConfig(images=images, out=tmp_path / "whole", simulation=SMALL))
    assert digests(config.out) == digests(tmp_path / "whole")


@pytest.mark.parametrize(
    "changed", [{"black_level": 0.01}, {"gamma": 1.0}, {"inverted": True}, {"placement": "padded"}, {"blur_px": 0.0}]
)
def test_the_display_is_part_of_what_a_folder_is(images: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    config = SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL)
    run(config)
    with pytest.raises(ConfigError, match=rf"simulation\.{next(iter(changed))}: "):
        run(config.model_copy(update={"simulation": SMALL.model_copy(update=changed)}))


@pytest.mark.parametrize("changed", [{"hot_pixels": 3}, {"hot_pixels": 3, "hot_pixel_rate_hz": 900.0}])
def test_recordings_of_what_is_left_out_by_default_are_no_others(
    images: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    """Fields that a document leaves out while they have their default, in both directions."""
    special = SMALL.model_copy(update=changed)
    usual = SMALL.model_copy(update={"hot_pixels": changed["hot_pixels"]} if len(changed) > 1 else {})
    name = [*changed][-1]
    for made, asked in ((special, usual), (usual, special)):
        config = SimulateConfig(images=images, out=tmp_path / f"of {made is special}", simulation=made)
        run(config)
        with pytest.raises(ConfigError, match=rf"simulation\.{name}: .*its default (there|here)"):
            run(config.model_copy(update={"simulation": asked}))
        assert run(config).up_to_date


@pytest.mark.parametrize("finished", [True, False])
def test_output_of_another_configuration_is_kept(images: Path, tmp_path: Path, finished: bool) -> None:
    config = SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL)
    run(config)
    if not finished:
        (config.out / "simulation.json").rename(config.out / "simulation.begun.json")
    before = digests(config.out)
    other = SMALL.model_copy(update={"seed": 5})
    with pytest.raises(ConfigError, match=r"simulation\.seed: 0 there, 5 here"):
        run(config.model_copy(update={"simulation": other}))
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(images / "ant" / "image_9999.png")
    with pytest.raises(ConfigError, match="images: "):
        run(config)
    assert digests(config.out) == before


def test_a_folder_of_unknown_origin_is_kept(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"precious\.txt"):
        run(SimulateConfig(images=images, out=out, simulation=SMALL))
    assert (out / "precious.txt").read_text() == "mine"


def test_a_garbled_record_of_the_run_is_an_error(images: Path, tmp_path: Path) -> None:
    config = SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL)
    run(config)
    (config.out / "simulation.json").write_text("{")
    with pytest.raises(ConfigError, match="no JSON document"):
        run(config)


def test_broken_images_are_left_out_and_listed(images: Path, tmp_path: Path) -> None:
    (images / "ant" / "image_0003.png").write_bytes(b"not an image")
    whole = (images / "ant" / "image_0004.png").read_bytes()
    (images / "ant" / "image_0004.png").write_bytes(whole[: len(whole) // 2])
    (images / "ant" / "notes.txt").write_text("no image")
    (images / "README").write_text("no image")
    Image.new("RGB", (9, 9)).save(images / "ant" / "scan.jp2")
    config = SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL)
    for up_to_date in (False, True):
        report = run(config)
        assert report.up_to_date is up_to_date
        assert report.num_recordings == 20
        assert [name for name, _ in report.quarantined] == ["ant/image_0003.png", "ant/image_0004.png"]
        assert "image_0003.png" in report.quarantined[0][1]
        assert report.ignored == ("README", "ant/notes.txt", "ant/scan.jp2")
    assert not (config.out / "Caltech101/ant/image_0003.bin").exists()
    assert len(json.loads((config.out / "simulation.json").read_text())["quarantined"]) == 2


def test_images_without_a_single_event_are_listed(tmp_path: Path) -> None:
    (tmp_path / "images" / "flat").mkdir(parents=True)
    Image.fromarray(np.full((9, 9), 100, np.uint8)).save(tmp_path / "images" / "flat" / "image_0001.png")
    calm = SMALL.model_copy(update={"noise_rate_hz": 0.0})
    report = run(SimulateConfig(images=tmp_path / "images", out=tmp_path / "out", simulation=calm))
    assert report.num_recordings == 0
    assert "nothing in it moves a pixel" in report.quarantined[0][1]


def test_two_images_must_not_write_the_same_file(images: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(images / "ant" / "image_0001.jpg")
    with pytest.raises(SourceError, match=r"image_0001\.jpg and ant/image_0001\.png would write the same"):
        run(SimulateConfig(images=images, out=tmp_path / "out", simulation=SMALL))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("a file")])
def test_a_folder_without_images_is_an_error(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "images")
    with pytest.raises(SourceError, match="expected"):
        run(SimulateConfig(images=tmp_path / "images", out=tmp_path / "out", simulation=SMALL))
    assert not (tmp_path / "out").exists()
