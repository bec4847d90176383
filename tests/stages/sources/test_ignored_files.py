"""Files that are no samples: every source counts and names them, and none hides the samples beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cifar_data import CLASSES, HEADER
from drawings import write_drawings
from PIL import Image

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.reader import NUM_EXAMPLES, IgnoredFiles

HARMLESS = (".DS_Store", "a/.hidden", "__MACOSX/a/1.png", "a/Thumbs.db", "b/desktop.ini", "README.md", "LICENSE")


@pytest.fixture
def png(make: Any) -> bytes:
    data: bytes = make.image(Image.new("RGB", (8, 8)))
    return data


def names(path: Path, ignored: IgnoredFiles) -> list[str]:
    """The examples, relative to the folder or archive."""
    return [example.removeprefix(str(path))[1:] for example in ignored.examples]


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_stray_file_beside_class_folders_hides_no_sample(
    tmp_path: Path, make: Any, png: bytes, depth: int, form: str
) -> None:
    """At every level, in an archive that keeps the folders above the classes, as `zip -r` of a long path does."""
    above = "".join(f"{level}/" for level in ("home", "me", "data", "own", "recordings")[:depth])
    files = {f"{above}{class_name}/{number}.png": png for class_name in "abc" for number in range(4)}
    strays = [f"{above}stray.txt", *(["stray.png"] if depth else [])]
    path = make.files(tmp_path / "files", files | dict.fromkeys(strays, b"x"))
    if form == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "own"), "zip", path))
    source = open_source("image-folder", path)
    assert source.class_names == ("a", "b", "c")
    assert len(source.samples) == 12
    ignored = source.ignored_files()
    assert ignored.num_unexpected == len(strays)
    assert names(path, ignored) == sorted(strays)


def test_files_in_folders_of_a_class_are_counted_and_named(tmp_path: Path, make: Any, png: bytes) -> None:
    files = {f"{class_name}/{number}.png": png for class_name in "ab" for number in range(2)}
    deeper = {f"a/subject{subject}/{number}.png": png for subject in range(3) for number in range(4)}
    report = conversion.run(
        ConvertConfig(source="image-folder", raw=make.files(tmp_path / "raw", files | deeper), out=tmp_path)
    )
    assert report.num_samples == 4
    assert report.ignored_files.num_unexpected == 12
    assert names(tmp_path / "raw", report.ignored_files) == sorted(deeper)[:NUM_EXAMPLES]
    (warning,) = report.warnings
    assert warning.startswith(f"12 files are no samples and were not read: {tmp_path / 'raw'}/a/subject0/0.png, ")
    assert " and 7 more; expected <class>/<name>" in warning


def test_classes_with_folders_alone_are_refused(tmp_path: Path, make: Any, png: bytes) -> None:
    files = {f"{class_name}/subject/{number}.png": png for class_name in "ab" for number in range(2)}
    with pytest.raises(SourceError, match=r"found a/, b/, and no file directly in a folder there\. Put"):
        open_source("image-folder", make.files(tmp_path, files))
    with pytest.raises(SourceError, match=r"holds no sample of class b \(found subject/\)"):
        open_source("image-folder", make.files(tmp_path, {"a/1.png": png}))


def test_harmless_files_are_counted_without_a_word(tmp_path: Path, make: Any, png: bytes) -> None:
    files = {f"{class_name}/{number}.png": png for class_name in "ab" for number in range(2)}
    raw = make.files(tmp_path / "raw", files | dict.fromkeys(HARMLESS, b"x"))
    report = conversion.run(ConvertConfig(source="image-folder", raw=raw, out=tmp_path))
    assert (report.num_samples, report.quarantined, report.warnings) == (4, {}, ())
    assert report.ignored_files == IgnoredFiles(num_harmless=len(HARMLESS))


def test_a_link_to_a_folder_above_ends(tmp_path: Path, make: Any, png: bytes) -> None:
    raw = make.files(tmp_path / "raw", {"a/1.png": png, "b/1.png": png, "elsewhere.txt": b"x"})
    (raw / "a" / "back").symlink_to(raw)
    assert open_source("image-folder", raw).ignored_files().num_unexpected == 1


def test_what_is_no_regular_file_is_counted(tmp_path: Path, make: Any, png: bytes) -> None:
    raw = make.files(tmp_path / "raw", {"a/1.png": png, "b/1.png": png})
    (raw / "a" / "2.png").symlink_to(tmp_path / "nowhere.png")
    source = open_source("image-folder", raw)
    assert len(source.samples) == 2
    assert names(raw, source.ignored_files()) == ["a/2.png"]


def test_mnist_under_other_names(tmp_path: Path, make: Any) -> None:
    """The training set as some mirrors name it: without a word, the test set alone would be read."""
    header = b"\0\0\x08"
    files = {
        "t10k-images-idx3-ubyte": header + b"\3" + b"\0\0\0\1" + b"\0\0\0\x1c" * 2 + bytes(784),
        "t10k-labels-idx1-ubyte": header + b"\1" + b"\0\0\0\1\7",
        "train-images.idx3-ubyte": b"x",
        "train-labels.idx1-ubyte.gz": b"x",
        "notes.txt": b"x",
    }
    raw = make.files(tmp_path / "raw", files)
    source = open_source("mnist", raw)
    assert len(source.samples) == 1
    assert names(raw, source.ignored_files()) == ["train-images.idx3-ubyte", "train-labels.idx1-ubyte.gz"]


def test_linked_class_folders_are_searched(tmp_path: Path, make: Any, png: bytes) -> None:
    there = make.files(tmp_path / "there", {"a/1.png": png, "a/deep/2.png": png, "b/1.png": png})
    (tmp_path / "raw").mkdir()
    for class_name in "ab":
        (tmp_path / "raw" / class_name).symlink_to(there / class_name)
    source = open_source("image-folder", tmp_path / "raw")
    assert len(source.samples) == 2
    assert names(tmp_path / "raw", source.ignored_files()) == ["a/deep/2.png"]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_published_sets_of_class_folders(tmp_path: Path, make: Any, form: str) -> None:
    """Another ending, a folder too many and a file beside the classes; Faces is left out on purpose."""
    record = make.records([(1, 2, 3, 1)])
    files = {
        "Caltech101/ant/image_0001.bin": record,
        "Caltech101/ant/image_0002.BIN.txt": record,
        "Caltech101/ant/more/image_0003.bin": record,
        "Caltech101/list.txt": b"x",
        "Caltech101/Faces/image_0001.bin": record,
        "Caltech101/.DS_Store": b"x",
        "Caltech101_annotations/ant/annotation_0001.bin": b"x",
    }
    path = make.files(tmp_path / "files", files)
    if form == "zip":
        path = tmp_path / "Caltech101.zip"
        path.write_bytes(make.zip(files))
    source = open_source("ncaltech101", path)
    assert [sample.sample_id for sample in source.samples] == ["ant/image_0001"]
    ignored = source.ignored_files()
    assert names(path, ignored) == [
        "Caltech101/ant/image_0002.BIN.txt",
        "Caltech101/ant/more/image_0003.bin",
        "Caltech101/list.txt",
    ]
    assert (ignored.num_unexpected, ignored.num_left_out, ignored.num_harmless) == (3, 1, 1)


def test_nmnist(tmp_path: Path, make: Any) -> None:
    record = make.records([(1, 2, 3, 1), (3, 3, 20, 0)])
    files = ("Train/3/00007.bin", "Train/10/00001.bin", "Test/4/00001.aedat", "Test/4/00002.bin", "Train/.DS_Store")
    raw = make.files(tmp_path / "raw", dict.fromkeys(files, record))
    report = conversion.run(ConvertConfig(source="nmnist", raw=raw, out=tmp_path))
    assert report.num_samples == 2
    assert names(raw, report.ignored_files) == ["Test/4/00001.aedat", "Train/10/00001.bin"]
    assert report.ignored_files.num_harmless == 1
    assert "classes without a readable sample: 0, 1, 2, 5, 6, 7, 8, 9;" in "".join(report.warnings)


def test_cifar10dvs(tmp_path: Path, make: Any) -> None:
    files = dict.fromkeys((f"{name}/cifar10_{name}_0.aedat" for name in CLASSES), HEADER)
    strays = ("bird/cifar10_bird_1.mat", "bird/more/cifar10_bird_2.aedat")
    path = make.files(tmp_path, files | dict.fromkeys(strays, b"x"))
    assert names(path, open_source("cifar10dvs", path).ignored_files()) == list(strays)


def test_cepdvs(tmp_path: Path, make: Any) -> None:
    files = {
        "pathFile.csv": b"i path size date class\n0 img/0.jpg 32 2020 fish x\n1 img/1.jpg 32 2020 fish x",
        "data/MAT/img/0.mat": b"x",
        "data/MAT/img/1.h5": b"x",
        "data/img/0.jpg": b"x",
        "data/img/1.png": b"x",
        "data/img/old/1.jpg": b"x",
    }
    path = make.files(tmp_path, files)
    assert names(path, open_source("cepdvs", path).ignored_files()) == ["data/MAT/img/1.h5"]
    assert names(path, open_source("cepdvs-images", path).ignored_files()) == ["data/img/1.png", "data/img/old/1.jpg"]


def test_drawings(tmp_path: Path) -> None:
    """Also the second of two files of one drawing, and folders that are no characters'."""
    raw = write_drawings(tmp_path)
    for name in ("omniglot", "nomniglot"):
        assert open_source(name, raw / name).ignored_files() == IgnoredFiles()
    images = next((raw / "omniglot").rglob("character01"))
    shutil.copy(next(images.glob("*_01.png")), images / "9999_01.png")
    (images.parent / "character1").mkdir()
    (images.parent / "character1" / "0001_01.png").write_bytes(b"x")
    assert open_source("omniglot", raw / "omniglot").ignored_files().num_unexpected == 2
    recordings = next((raw / "nomniglot").rglob("character01"))
    (recordings / "notes.txt").write_text("x")
    (recordings / "old").mkdir()
    (recordings / "old" / "0001.aedat4").write_bytes(b"x")
    (recordings.parent / "letter").mkdir()
    (recordings.parent / "letter" / "0001.aedat4").write_bytes(b"x")
    assert [Path(name).name for name in open_source("nomniglot", raw / "nomniglot").ignored_files().examples] == [
        "notes.txt",
        "0001.aedat4",
        "0001.aedat4",
    ]
