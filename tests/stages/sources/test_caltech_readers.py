"""N-Caltech101 and Caltech101: the same classes in the same order from any form in which the data are published."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import SOURCES, AtisRecords, open_source, random_access

IDS = ["BACKGROUND_Google/image_0001", "Faces_easy/image_0001", "accordion/image_0001", "accordion/image_0002"]
BOX = {"box": [5, 7, 90, 60]}


def nested(make: Any, files: Mapping[str, bytes], method: int) -> bytes:
    """The published archive: a zip of the recordings' and the annotations' zips, in a folder of its own."""
    parts = {
        f"cy6cvx3ryv-1/{folder}.zip": make.zip({n: data for n, data in files.items() if n.startswith(f"{folder}/")})
        for folder in ("Caltech101", "Caltech101_annotations")
    }
    return make.zip(parts, method)


def form_of(form: str, folder: Path, make: Any, files: Mapping[str, bytes]) -> Path:
    """The data set in one of the forms in which it may lie on a user's disk; returns the path to open."""
    if form == "root folder":
        return make.files(folder, files)
    if form == "class folder":
        return make.files(folder, files) / "Caltech101"
    if form == "inner zip":
        parts = {"Caltech101.zip": files, "Caltech101_annotations.zip": files}
        make.files(folder, {name: make.zip({n: d for n, d in part.items() if n.startswith(name[:-4] + "/")})
                            for name, part in parts.items()})  # fmt: skip
        return folder / "Caltech101.zip"
    method = zipfile.ZIP_STORED if "stored" in form else zipfile.ZIP_DEFLATED
    make.files(folder, {"N-Caltech101-archive.zip": nested(make, files, method)})
    return folder / "N-Caltech101-archive.zip" if form.startswith("archive") else folder


FORMS = ["root folder", "class folder", "inner zip", "archive, stored", "archive, deflated", "folder of stored archive"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(
    tmp_path: Path, make: Any, ncaltech_files: dict[str, bytes], form: str
) -> None:
    source = open_source("ncaltech101", form_of(form, tmp_path / "raw data", make, ncaltech_files))
    assert source.class_names == ("BACKGROUND_Google", "Faces_easy", "accordion")
    assert [sample.sample_id for sample in source.samples] == IDS
    assert [sample.label for sample in source.samples] == [0, 1, 2, 2]
    for sample in source.samples:
        data = source.read_bytes(sample)
        assert data == ncaltech_files[f"Caltech101/{sample.sample_id}.bin"]
        recording = source.decode(sample, data)
        assert isinstance(recording, AtisRecords)
        assert recording.sensor_size == (240, 180)
    assert [source.metadata(sample) for sample in source.samples] == [{}, {}, BOX, {}]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_inner_zip_is_read_through_a_view(
    tmp_path: Path, make: Any, ncaltech_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    """With a small limit for what is held in memory, the inner zip is not: only its members are."""
    rng = np.random.default_rng(0)
    ncaltech_files["Caltech101/accordion/image_0003.bin"] = rng.integers(0, 256, 5000, dtype=np.uint8).tobytes()
    path = tmp_path / "N-Caltech101-archive.zip"
    path.write_bytes(nested(make, ncaltech_files, method))
    monkeypatch.setattr("dvs_transfer.stages.sources.archives.MAX_READ_BYTES", 5500)
    source = open_source("ncaltech101", path)
    sample = source.samples[-1]
    assert source.read_bytes(sample) == ncaltech_files["Caltech101/accordion/image_0003.bin"]


def test_a_pickled_source_reads_the_same_and_opens_once(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    source = open_source("ncaltech101", make.files(tmp_path, ncaltech_files))
    first, second = (pickle.loads(pickle.dumps(source)) for _ in range(2))
    assert first is second
    assert first.samples == source.samples
    assert first.read_bytes(source.samples[0]) == source.read_bytes(source.samples[0])


def test_another_reader_of_the_same_path_is_opened_anew(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    first, second = (open_source("ncaltech101", make.files(tmp_path, ncaltech_files)) for _ in range(2))
    opened, anew = (pickle.loads(pickle.dumps(source)) for source in (first, second))
    assert opened is not anew
    assert pickle.loads(pickle.dumps(opened)) is opened  # as a scheduler hands it on


def test_where_a_reader_cannot_be_opened_it_says_so_when_it_is_used(
    tmp_path: Path, make: Any, ncaltech_files: Any
) -> None:
    (tmp_path / "raw").mkdir()
    source = open_source("ncaltech101", make.files(tmp_path / "raw" / "data", ncaltech_files).parent)
    pickled = pickle.dumps(source)
    (tmp_path / "raw" / "data").rename(tmp_path / "elsewhere")
    unopened = pickle.loads(pickled)
    with pytest.raises(SourceError, match="raw: expected Caltech101"):
        unopened.require_listing(source.listing_digest)
    (tmp_path / "elsewhere").rename(tmp_path / "raw" / "data")
    assert pickle.loads(pickle.dumps(unopened)).samples == source.samples


def test_threads_read_the_same_from_an_archive(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    path = form_of("archive, deflated", tmp_path, make, ncaltech_files)
    source = open_source("ncaltech101", path)
    with ThreadPoolExecutor(8) as pool:
        for sample, data in zip(source.samples * 25, pool.map(source.read_bytes, source.samples * 25), strict=True):
            assert data == ncaltech_files[f"Caltech101/{sample.sample_id}.bin"]


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_missing_path_and_a_wrong_layout_say_what_was_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="nowhere: does not exist"):
        open_source(name, tmp_path / "nowhere")
    (tmp_path / "stray.txt").write_text("x")
    with pytest.raises(SourceError, match=r"expected .*; found stray\.txt.*(get it: |Put the files of a class)"):
        open_source(name, tmp_path)
    with pytest.raises(SourceError, match="archive"):
        open_source(name, tmp_path / "stray.txt")


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such source: 'imagenet' is none of caltech101"):
        open_source("imagenet", tmp_path)


def test_a_class_without_samples_is_refused(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    make.files(tmp_path, ncaltech_files)
    (tmp_path / "Caltech101" / "ant").mkdir()
    with pytest.raises(SourceError, match=r"ant: holds no sample of class ant \(found nothing\)"):
        open_source("ncaltech101", tmp_path)


def test_clutter_is_no_class(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    ncaltech_files |= {"Caltech101/.DS_Store": b"x", "Caltech101/.cache/a.bin": b"x", "__MACOSX/Caltech101/b.bin": b""}
    assert len(open_source("ncaltech101", make.files(tmp_path, ncaltech_files)).samples) == 4


@pytest.mark.parametrize("damage", [b"", b"\x02\x00\x04\x00\x01", b"\x03\x00\x01\x00" + bytes(6), b"\xff\xff\xff\xff"])
def test_a_broken_annotation_is_named(tmp_path: Path, make: Any, ncaltech_files: Any, damage: bytes) -> None:
    ncaltech_files["Caltech101_annotations/accordion/annotation_0001.bin"] = damage
    source = open_source("ncaltech101", make.files(tmp_path, ncaltech_files))
    with pytest.raises(SourceError, match=r"annotation_0001\.bin: \d+ bytes do not hold a box"):
        source.metadata(source.samples[2])


def test_a_file_that_vanished_is_named(tmp_path: Path, make: Any, ncaltech_files: Any) -> None:
    source = open_source("ncaltech101", make.files(tmp_path, ncaltech_files))
    (tmp_path / "Caltech101" / "accordion" / "image_0001.bin").unlink()
    with pytest.raises(SourceError, match=r"image_0001\.bin: cannot be read: No such file"):
        source.read_bytes(source.samples[2])


# Caltech101 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(make: Any) -> dict[str, bytes]:
    picture = Image.new("RGB", (30, 20), (200, 10, 10))
    return {
        "BACKGROUND_Google/image_0001.jpg": make.image(picture),
        "BACKGROUND_Google/tmp": b"the published archive has this stray file",
        "Faces/image_0001.jpg": make.image(picture),
        "Faces_easy/image_0001.jpg": make.image(picture.convert("L")),
        "accordion/image_0001.jpg": make.image(picture),
        "accordion/image_0002.JPG": make.image(picture),
    }


@pytest.mark.parametrize("form", ["root", "classes", "tar.gz", "zip in zip", "published", "folder of published"])
def test_every_form_of_caltech101(tmp_path: Path, make: Any, photos: dict[str, bytes], form: str) -> None:
    inside = {f"101_ObjectCategories/{name}": data for name, data in photos.items()}
    published = make.zip(
        {"caltech-101/101_ObjectCategories.tar.gz": make.tar(inside), "caltech-101/Annotations.tar": make.tar({})}
    )
    path = {
        "root": lambda: make.files(tmp_path, inside),
        "classes": lambda: make.files(tmp_path, photos),
        "tar.gz": lambda: make.files(tmp_path, {"a.tgz": make.tar(inside)}) / "a.tgz",
        "zip in zip": lambda: (
            make.files(tmp_path, {"a.zip": make.zip({"101_ObjectCategories.zip": make.zip(inside)})}) / "a.zip"
        ),
        "published": lambda: make.files(tmp_path, {"caltech-101.zip": published}) / "caltech-101.zip",
        "folder of published": lambda: make.files(tmp_path, {"caltech-101.zip": published}),
    }[form]()
    source = open_source("caltech101", path)
    assert source.class_names == ("BACKGROUND_Google", "Faces_easy", "accordion")
    assert [sample.sample_id for sample in source.samples] == IDS
    for sample in source.samples:
        image = source.decode(sample, source.read_bytes(sample))
        assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)


def test_two_files_of_one_id_are_refused(tmp_path: Path, make: Any, photos: dict[str, bytes]) -> None:
    photos["accordion/image_0001.png"] = make.image(Image.new("L", (3, 3)), "PNG")
    with pytest.raises(SourceError, match="has the same id, accordion/image_0001, as"):
        open_source("caltech101", make.files(tmp_path, photos))


def test_a_file_that_no_photo_can_be_is_not_read(tmp_path: Path, make: Any) -> None:
    source = open_source("caltech101", make.files(tmp_path, {"101_ObjectCategories/ant/image_0001.jpg": b""}))
    with (tmp_path / "101_ObjectCategories" / "ant" / "image_0001.jpg").open("wb") as file:
        file.truncate(random_access.MAX_READ_BYTES + 1)  # sparse
    for read in (source.read_bytes, source.read_content):
        with pytest.raises(SourceError, match=r"image_0001\.jpg: 67108865 bytes; the limit for it is 67108864"):
            read(source.samples[0])
