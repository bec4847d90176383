"""Omniglot's strokes: the format, whole and broken, and drawings that are read with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawings import NUM_DRAWERS, write_drawings, write_strokes

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames.strokes import NUM_DOTS
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.strokes import parse_strokes

PUBLISHED = """START
18.954528,-43.534334,0
19.739983,-41.963425,56
20.525437,-38.821606,97
BREAK
30.5,-7,1204
BREAK
"""


def parse(text: str) -> tuple[np.ndarray, ...]:
    return parse_strokes(text.encode(), "0394_01.txt")


def test_points_are_shares_of_the_image_from_its_corner():
    strokes = parse(PUBLISHED)
    assert [stroke.shape for stroke in strokes] == [(3, 3), (1, 3)]
    # pixel 30 of a row has its centre at 30.5 of 105 pixels; y is counted upwards in the file
    np.testing.assert_allclose(strokes[1][0], [31 / 105, 7.5 / 105, 1204])
    np.testing.assert_allclose(strokes[0][1], [20.239983 / 105, 42.463425 / 105, 56])
    assert [len(stroke) for stroke in parse(PUBLISHED.replace("\n", "\r\n"))] == [3, 1]


def test_a_clock_that_steps_back_a_little_is_taken():
    assert parse(PUBLISHED.replace(",97", ",33"))[0][2, 2] == 33


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("START\n", "", r"line 1: '18\.954528,-43\.534334,0', expected START"),
        (",56", "", r"line 3: '19\.739983,-41\.963425', expected x,y,t"),
        (",56", ",56,1", r"line 3"),
        ("19.739983", "nan", r"line 3: 'nan,"),
        ("19.739983", "1e999", r"line 3"),
        ("19.739983", "1e9", r"line 3: .* near the image"),
        ("-41.963425", "141.963425", r"line 3: .* near the image"),
        ("1204", "-5", r"line 6: .*times that do not fall, and found 97 ms before"),
        ("BREAK\n30", "BREAK\nBREAK\n30", r"line 6: 'BREAK', expected x,y,t"),
        ("BREAK\n30", "START\n30", r"line 5: 'START', expected"),
        ("1204\nBREAK\n", "1204\n", r"line 6: ends within a stroke, expected BREAK"),
        ("20.525437", "", r"line 4: ',-38"),
        ("30.5", "3é", r"is no text of strokes"),
    ],
)
def test_a_malformed_line_is_named(old: str, new: str, says: str):
    assert old in PUBLISHED
    with pytest.raises(SourceError, match=rf"0394_01\.txt: {says}.*fetch it again"):
        parse(PUBLISHED.replace(old, new, 1))


@pytest.mark.parametrize(("text", "says"), [("", "line 1"), ("START\n", "no stroke"), ("BREAK\n", "line 1")])
def test_files_without_strokes_are_refused(text: str, says: str):
    with pytest.raises(SourceError, match=says):
        parse(text)
    with pytest.raises(SourceError, match="the limit for strokes"):
        parse_strokes(b"START\n" * (1 << 18), "a.txt")


# Drawings with strokes


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    return write_strokes(write_drawings(tmp_path)) / "omniglot"


def convert(drawings: Path, source: str = "omniglot-strokes") -> conversion.ConversionReport:
    settings = {"source": source, "raw": drawings, "out": drawings.parent / "cache", "images": {"size": 28}}
    return conversion.run(ConvertConfig.model_validate(settings))


def strokes_of(drawings: Path, name: str = "Greek/character01/0702_07.txt") -> Path:
    found = drawings / "strokes_background" / name
    assert found.is_file()
    return found


def test_a_store_has_the_images_and_how_they_were_drawn(drawings: Path):
    plain, drawn = (FrameStore(convert(drawings, source).path) for source in ("omniglot", "omniglot-strokes"))
    assert drawn.sample_id.tolist() == plain.sample_id.tolist()
    np.testing.assert_array_equal(drawn.read("images"), plain.read("images"))
    assert "strokes/zarr.json" not in plain.attributes.files
    strokes = drawn.read("strokes")
    assert strokes.shape == (4 * NUM_DRAWERS, NUM_DOTS, 4)
    used = np.isfinite(strokes[..., 2])
    assert used.sum(1).min() > NUM_DOTS - 8
    # Ink lies where the image is black: every dot of a drawing within a pixel of it.
    for image, dots, there in zip(plain.read("images")[::7], strokes[::7], used[::7], strict=True):
        y, x = np.nonzero(image[0] < 255)
        places = 28 * dots[there, :2]
        assert np.hypot(places[:, :1] - x - 0.5, places[:, 1:] - y - 0.5).min(1).max() < 1.5


def test_archives_are_read_in_place(drawings: Path):
    expected = FrameStore(convert(drawings).path).read("strokes")
    for folder in sorted(drawings.iterdir()):
        shutil.make_archive(str(folder), "zip", drawings, folder.name)
        shutil.rmtree(folder)
    shutil.rmtree(drawings.parent / "cache")
    np.testing.assert_array_equal(FrameStore(convert(drawings).path).read("strokes"), expected)


def test_other_strokes_make_another_store(drawings: Path):
    first = convert(drawings)
    assert not convert(drawings).was_built
    path = strokes_of(drawings)
    path.write_text("START\n1,-1,0\n90,-90,900\nBREAK\n")
    second = convert(drawings)
    assert second.was_built
    assert second.path != first.path


def test_images_alone_know_nothing_of_strokes(drawings: Path):
    first = convert(drawings, "omniglot")
    strokes_of(drawings).unlink()
    again = convert(drawings, "omniglot")
    assert (again.was_built, again.path) == (False, first.path)


def test_drawings_without_readable_strokes_are_quarantined(drawings: Path):
    strokes_of(drawings).unlink()
    broken = strokes_of(drawings, "Greek/character02/0703_01.txt")
    broken.write_text("START\n1,-1,0\n1,-1\nBREAK\n")
    still = strokes_of(drawings, "Greek/character02/0703_02.txt")
    still.write_text("START\n1,-1,5\n2,-2,5\nBREAK\n")
    many = strokes_of(drawings, "Greek/character02/0703_03.txt")
    many.write_text("START\n" + "".join(f"1,-1,{i}\nBREAK\n" for i in range(NUM_DOTS // 2)))
    report = convert(drawings)
    assert set(report.quarantined) == {
        "Greek/character01/07", "Greek/character02/01", "Greek/character02/02", "Greek/character02/03",
    }  # fmt: skip
    told = report.quarantined
    assert "strokes are missing" in told["Greek/character01/07"]
    assert "0702_07.txt" in told["Greek/character01/07"]
    assert told["Greek/character02/01"].startswith(f"{broken}: line 3: '1,-1'")
    assert "the same time" in told["Greek/character02/02"]
    assert "64 strokes; the limit is 63" in told["Greek/character02/03"]
    store = FrameStore(report.path)
    assert not store.read("strokes")[~store.valid].any()


def test_a_character_without_strokes_says_so_for_each_drawing(drawings: Path):
    shutil.rmtree(drawings / "strokes_background" / "Greek" / "character01")
    told = convert(drawings).quarantined
    assert len(told) == NUM_DRAWERS
    assert "expected Greek/character01/0702_01.txt" in told["Greek/character01/01"]


def test_strokes_without_an_image_are_told(drawings: Path):
    (drawings / "images_background" / "Greek" / "character01" / "0702_07.png").unlink()
    (strokes_of(drawings).parent / ".DS_Store").write_bytes(b"")
    report = convert(drawings)
    assert list(report.quarantined) == ["Greek/character01/07"]
    assert report.ignored_files.examples == (str(strokes_of(drawings)),)
    assert report.ignored_files.num_harmless == 1


def test_no_strokes_at_all_are_refused_at_once(tmp_path: Path):
    images = write_drawings(tmp_path) / "omniglot"
    with pytest.raises(SourceError, match=r"expected strokes_background or strokes_evaluation.*source omniglot"):
        open_source("omniglot-strokes", images)
