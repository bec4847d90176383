"""Class folders below folders of parts, and what ids say of the part that the makers gave."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from own_recordings import WRITERS, make_events
from PIL import Image

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import SOURCES, Reader, TonicReader, open_source, rules_of, sources_with_parts
from dvs_transfer.stages.sources.base import Events


def write(folder: Path, *files: str) -> Path:
    """Images at these places."""
    for number, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(folder / f"{name}.png")
    return folder


def ids(folder: Path, source: str = "image-folder") -> list[str]:
    return [sample.sample_id for sample in open_source(source, folder).samples]


def test_parts_are_in_the_ids_and_classes_those_of_all(tmp_path: Path) -> None:
    folder = write(tmp_path / "images", "train/mug/1", "train/pen/1", "val/mug/1", "test/mug/1", "test/cup/2")
    source = open_source("image-folder", folder)
    assert source.class_names == ("cup", "mug", "pen")
    samples = {sample.sample_id: sample.label for sample in source.samples}
    assert samples == {"cup/test/2": 0, "mug/test/1": 1, "mug/train/1": 1, "mug/validation/1": 1, "pen/train/1": 2}
    assert [source.part_of(sample_id) for sample_id in samples] == ["test", "test", "train", "validation", "train"]
    found = {
        sample.sample_id: int(source.decode(sample, source.read_bytes(sample))[0, 0, 0]) for sample in source.samples
    }  # type: ignore[index]
    assert found == {"mug/train/1": 0, "pen/train/1": 1, "mug/validation/1": 2, "mug/test/1": 3, "cup/test/2": 4}
    assert source.ignored_files().num_unexpected == 0
    again = pickle.loads(pickle.dumps(source))
    assert again.samples == source.samples


@pytest.mark.parametrize(
    "names", [("Train", "Valid", "Test"), ("train", "validation", "test"), ("TRAIN", "val", "test")]
)
def test_names_of_parts(names: tuple[str, str, str], tmp_path: Path) -> None:
    folder = write(tmp_path / "set", *(f"{name}/{at}/0" for name in names for at in "ab"))
    assert ids(folder) == [f"{at}/{part}/0" for at in "ab" for part in ("test", "train", "validation")]


def test_the_layout_of_n_cars(tmp_path: Path) -> None:
    """As published: Prophesee_Dataset_n_cars/n-cars_train/cars/obj_004396_td.dat."""
    for number, (part, at) in enumerate((part, at) for part in ("train", "test") for at in ("cars", "background")):
        folder = tmp_path / "raw" / "Prophesee_Dataset_n_cars" / f"n-cars_{part}" / at
        folder.mkdir(parents=True)
        WRITERS["one.dat"](folder / f"obj_{number:06d}_td.dat", make_events(seed=number))
    expected = [
        *("background/test/obj_000003_td", "background/train/obj_000001_td"),
        *("cars/test/obj_000002_td", "cars/train/obj_000000_td"),
    ]
    archive = Path(shutil.make_archive(str(tmp_path / "n-cars"), "zip", tmp_path / "raw"))
    for path in (tmp_path / "raw", tmp_path / "raw" / "Prophesee_Dataset_n_cars", archive):
        source = open_source("folder", path)
        assert [sample.sample_id for sample in source.samples] == expected
        assert source.class_names == ("background", "cars")
        events = source.decode(source.samples[0], source.read_content(source.samples[0]))
        assert isinstance(events, Events)
        np.testing.assert_array_equal(events.t, make_events(seed=3).t)


def test_ids_of_other_folders_are_what_they_were(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "train/mug/1", "train/pen/1")
    assert ids(one) == ids(one / "train") == ["mug/1", "pen/1"]
    classes = write(tmp_path / "classes", "train/1", "bus/1", "test/1")
    assert ids(classes) == ["bus/1", "test/1", "train/1"]
    vehicles = write(tmp_path / "vehicles", "train/1", "test/1")
    assert ids(vehicles) == ["test/1", "train/1"], "folders without folders are classes, whatever their names"
    assert {Reader.part_of(sample_id) for sample_id in [*ids(one), *ids(classes), "a/b/c", "train", "x/train"]} == {""}


def test_what_is_no_sample_beside_parts_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "train/mug/1", "test/mug/1", "test/stray")
    (folder / "labels.csv").write_text("x")
    source = open_source("image-folder", folder)
    assert len(source.samples) == 2
    assert source.ignored_files().num_unexpected == 2


def test_broken_parts_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", "train/mug/1", "test/mug/1")
    (folder / "test" / "pen").mkdir()
    with pytest.raises(SourceError, match="holds no sample of class pen"):
        open_source("image-folder", folder)
    twice = write(tmp_path / "twice", "val/mug/1", "validation/mug/1")
    with pytest.raises(SourceError, match="has the same id, mug/validation/1, as"):
        open_source("image-folder", twice)
    (tmp_path / "empty" / "train" / "mug").mkdir(parents=True)
    (tmp_path / "empty" / "test" / "mug").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"expected <class>/<name>.*found test/, train/"):
        open_source("image-folder", tmp_path / "empty")


@pytest.mark.parametrize(
    ("source", "sample_id", "part"),
    [
        ("nmnist", "7/train-00042", "train"),
        ("nmnist", "7/t10k-00042", "test"),
        ("mnist", "0/t10k-00001", "test"),
        ("cifar10", "train/test-00001", "test"),
        ("cifar10", "dog/train-00001", "train"),
        ("cifar10dvs", "dog/cifar10_dog_1", ""),
        ("ncaltech101", "dog/image_0001", ""),
        ("folder", "dog/test/image_0001", "test"),
        ("tonic:DVSGesture", "3/tonic-train-00001", "train"),
        ("tonic:DVSGesture", "3/tonic-test-00001", "test"),
        ("tonic:CIFAR10DVS", "3/tonic-all-00001", ""),
        ("tonic:NMNIST", "a/b/tonic-test-00001", "test"),
    ],
)
def test_the_part_of_an_id(source: str, sample_id: str, part: str) -> None:
    assert rules_of(source).part_of(sample_id) == part
    assert rules_of(source).group_of(sample_id) == sample_id


def test_sources_of_recordings_with_parts() -> None:
    assert {"nmnist", "tonic:<class>"} <= set(sources_with_parts())
    assert "mnist" not in sources_with_parts()
    assert rules_of("tonic:NMNIST") is TonicReader
    assert rules_of("mnist") is SOURCES["mnist"]
    with pytest.raises(SourceError, match="nowhere"):
        rules_of("nowhere")
