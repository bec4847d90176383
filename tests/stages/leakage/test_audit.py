"""What an audit finds, prints and draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run_command, succeed
from photo_stores import ids, pair, scene, write_store
from PIL import Image

from dvs_transfer.cache.errors import ConfigError, StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages.leakage import audit
from dvs_transfer.stages.pairing import PairingReport

CLASSES = ("cat", "dog")
STEMS = [f"image_{number:04d}" for number in range(1, 11)]
NAMES = ids(CLASSES, STEMS)


def split_of(folder: Path) -> dict[str, list[str]]:
    """The recordings of each split, which depends on their ids alone."""
    pairs = PairStore(pair(write_store(folder / "probe", "events", NAMES), None)[0].path)
    return {split: [str(pairs.events.sample_id[row]) for row in pairs.rows_of(split)] for split in ("train", "test")}


@pytest.fixture
def leaky(tmp_path: Path) -> PairingReport:
    """A pair store whose pool has every photo, one of a test recording twice as a file and one of another twice as a
    picture; and a test recording that is a training one, and another that looks like one.
    """
    split = split_of(tmp_path)
    first, second, third, fourth = split["test"]
    one, other = split["train"][:2]
    images = write_store(
        tmp_path,
        "images",
        sorted([*NAMES, "cat/file", "dog/picture"]),
        pictures={second: scene(501), "dog/picture": 0.8 * scene(501) + 0.1},
        digests={first: "the same", "cat/file": "the same"},
    )
    events = write_store(
        tmp_path,
        "events",
        NAMES,
        pictures={fourth: scene(502), other: 0.95 * scene(502)},
        digests={third: "one recording", one: "one recording"},
    )
    return pair(events, images, protocol="unrestricted")[0]


def test_photos_in_the_pool_are_counted_by_what_tells(leaky: PairingReport, tmp_path: Path) -> None:
    report = audit.run(leaky.path, tmp_path / "audit.png")
    assert (report.protocol, report.photos_in_reach, report.num_pool) == ("unrestricted", "some", 22)
    validation, test = report.splits
    assert (test.split, test.num_recordings, test.num_with_photo, test.num_unknown) == ("test", 4, 4, 0)
    assert (test.by_id, test.by_digest, test.by_near_duplicate, test.num_in_reach) == (4, 1, 1, 4)
    assert (validation.split, validation.by_id, validation.by_digest, validation.by_near_duplicate) == (
        *("validation", 4),
        *(0, 0),
    )
    assert len(report.photos) == 8
    assert {match.way for match in report.photos} == {"id"}
    assert all(match.photo == match.image == match.recording for match in report.photos)


def test_recordings_of_different_splits_are_compared(leaky: PairingReport, tmp_path: Path) -> None:
    report = audit.run(leaky.path, tmp_path / "audit.png")
    third, fourth = split_of(tmp_path / "again")["test"][2:]
    pairs = {(pair.split, pair.other): pair for pair in report.between}
    assert list(pairs) == [("validation", "train"), ("test", "train"), ("test", "validation")]
    found = pairs["test", "train"]
    assert (found.by_digest, found.by_near_duplicate, found.by_photo, found.num_alike) == (1, 1, 0, 2)
    assert pairs["validation", "train"].num_alike == 0
    worst, next_worst = report.recordings[:2]
    assert (worst.way, worst.recording, worst.other_split) == ("digest", third, "train")
    assert (next_worst.way, next_worst.recording, next_worst.correlation > 0.99) == ("near-duplicate", fourth, True)
    assert {match.way for match in report.recordings[2:]} == {"no"}
    assert len(report.recordings) == 12


def test_disjoint_has_none_and_names_what_is_most_alike(leaky: PairingReport, tmp_path: Path) -> None:
    stores = PairStore(leaky.path)
    assert stores.images is not None
    report = audit.run(pair(stores.events.path, stores.images.path)[0].path, tmp_path / "audit.png")
    assert (report.photos_in_reach, report.num_pool) == ("none", 12)
    assert [split.num_in_reach for split in report.splits] == [0, 0]
    assert {match.way for match in report.photos} == {"no"}
    correlations = [match.correlation for match in report.photos]
    assert correlations == sorted(correlations, reverse=True)
    assert max(correlations) < 0.99


def test_a_twin_file_is_no_near_duplicate_as_well(tmp_path: Path) -> None:
    """Its picture is the same, of course."""
    first = split_of(tmp_path)["test"][0]
    pictures, digests = {first: scene(5), "cat/file": scene(5)}, {first: "one", "cat/file": "one"}
    images = write_store(tmp_path, "images", sorted([*NAMES, "cat/file"]), pictures=pictures, digests=digests)
    report = pair(write_store(tmp_path, "events", NAMES), images, protocol="unrestricted")[0]
    test = audit.run(report.path, tmp_path / "a.png").splits[-1]
    assert (test.by_id, test.by_digest, test.by_near_duplicate, test.num_in_reach) == (4, 1, 0, 4)


def test_images_that_were_left_out_as_copies_are_counted_by_class(tmp_path: Path) -> None:
    names, (first, second, *_) = ids(("ant", *CLASSES), STEMS), split_of(tmp_path)["test"]
    pictures = {first: scene(5), second: scene(6), "ant/a": scene(5), "dog/b": scene(5), "dog/c": scene(6)}
    events = write_store(tmp_path, "events", names)
    images = write_store(tmp_path, "images", sorted({*names, *pictures}), pictures=pictures)
    report = pair(events, images)[0]
    found = audit.run(report.path, tmp_path / "a.png")
    assert (report.num_pool, found.num_left_out, found.most_left_out) == (18, 3, {"dog": 2, "ant": 1})
    assert "; 3 copies were left out of it" in succeed("audit", report.path, "--out", tmp_path / "a.png").out
    text = succeed("audit", report.path, "-v", "--out", tmp_path / "a.png").out
    assert "left out as copies of held-out recordings' photos: 3 images; most of dog 2, ant 1" in text
    free = audit.run(pair(events, images, protocol="unrestricted")[0].path, tmp_path / "a.png")
    assert (free.num_left_out, free.most_left_out) == (0, {})


def test_recordings_of_one_photo_in_two_splits_are_told(tmp_path: Path) -> None:
    """Two recordings of a photo that look different, as of two cameras."""
    split = split_of(tmp_path)
    stem = split["train"][0]
    copies = {split["test"][0]: scene(503), stem: scene(503)}
    events, images = write_store(tmp_path, "events", NAMES), write_store(tmp_path, "images", NAMES, pictures=copies)
    report = audit.run(pair(events, images)[0].path, tmp_path / "audit.png")
    (found,) = (pair for pair in report.between if (pair.split, pair.other) == ("test", "train"))
    assert (found.by_digest, found.by_near_duplicate, found.by_photo, found.num_alike) == (0, 0, 1, 1)


def test_what_is_not_known_is_counted(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", NAMES)
    images = write_store(tmp_path, "images", ids(CLASSES, [f"photo{number}" for number in range(10)]))
    report = audit.run(pair(events, images)[0].path, tmp_path / "audit.png")
    assert report.photos_in_reach == "unknown"
    assert [(split.num_with_photo, split.num_unknown, split.num_in_reach) for split in report.splits] == [(0, 4, 0)] * 2
    assert report.photos == ()


def test_recordings_alone_are_audited_too(tmp_path: Path) -> None:
    report = audit.run(pair(write_store(tmp_path, "events", NAMES), None)[0].path, tmp_path / "audit.png")
    assert (report.num_pool, report.photos, report.photos_in_reach) == (0, (), "none")
    assert [split.num_recordings for split in report.splits] == [4, 4]
    assert len(report.between) == 3


def test_novel_recordings_are_audited(tmp_path: Path) -> None:
    names = ids(("ant", *CLASSES), STEMS)
    pictures = {"ant/image_0004": scene(5), "dog/copied": scene(5)}
    images = write_store(tmp_path, "images", sorted([*names, "dog/copied"]), pictures=pictures)
    events = write_store(tmp_path, "events", names)
    report = pair(events, images, novel_classes=["ant"], protocol="unrestricted")[0]
    novel = audit.run(report.path, tmp_path / "audit.png").splits[-1]
    assert (novel.split, novel.num_recordings, novel.by_id, novel.by_near_duplicate) == ("novel", 10, 0, 1)


def test_the_command_prints_json_and_text_and_draws(leaky: PairingReport, tmp_path: Path) -> None:
    out = tmp_path / "sheets" / "audit.png"
    document = succeed("audit", leaky.path, "--json", "--out", out).document
    assert document["photos_in_reach"] == "some"
    assert document["splits"][1] == {
        **{"split": "test", "num_recordings": 4, "num_with_photo": 4, "num_unknown": 0},
        **{"by_id": 4, "by_digest": 1, "by_near_duplicate": 1, "num_in_reach": 4, "num_otherwise": 0},
    }
    assert json.loads(json.dumps(document["recordings"][0]))["way"] == "digest"
    assert succeed("audit", leaky.path, "--out", out).out.splitlines() == [
        "audit: protocol unrestricted, photos in reach: some",
        f"  static pool: {document['num_pool']} images",
        "  validation: 4 of 4 recordings have their photo, or one like it, there",
        "  test: 4 of 4 recordings have their photo, or one like it, there",
        "recordings with one like them in another split: 2 of test in train",
        f"picture of the most alike: {out} (-v lists them)",
    ]
    text = succeed("audit", leaky.path, "-v", "--out", out).out
    assert "protocol unrestricted, photos in reach: some" in text
    assert "in the pool 4: 4 the photo itself, 1 the same file, 1 one that looks the same" in text
    assert "test in train: 2: 1 the same file, 1 look the same, of 0 the photos do" in text
    assert text.count("\n") > 30
    with Image.open(out) as sheet:
        sheet.load()
        assert sheet.width > 700
        assert sheet.height > 12 * 96


def test_the_sheet_shows_recording_photo_and_image(tmp_path: Path) -> None:
    """In the first row on the left, after the recording: the photo, twice."""
    half = np.where(np.arange(24) < 12, 1.0, 0.2) * np.ones((24, 24))
    pictures = dict.fromkeys(NAMES, half)
    stores = [write_store(tmp_path, kind, NAMES, pictures=pictures) for kind in ("events", "images")]
    report = pair(*stores, protocol="unrestricted")[0]
    audit.run(report.path, tmp_path / "audit.png")
    with Image.open(tmp_path / "audit.png") as sheet:
        colours = [[sheet.getpixel((6 + column * 102 + x, 56 + 48)) for x in (10, 86)] for column in (0, 1, 2, 3)]
    assert colours[1:3] == [[(255, 255, 255), (51, 51, 51)]] * 2
    assert colours[0][0] != colours[0][1] != (255, 255, 255)
    assert colours[3] == [(255, 255, 255)] * 2


def test_other_files_are_refused(leaky: PairingReport, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ends in"):
        audit.run(leaky.path, tmp_path / "audit.jpg")
    with pytest.raises(StoreError, match="expected a pair store"):
        audit.run(PairStore(leaky.path).events.path, tmp_path / "audit.png")
    outcome = run_command("audit", tmp_path / "none.zarr", "--out", tmp_path / "audit.png")
    assert (outcome.code, "no such store" in outcome.err) == (1, True)
