"""N-Omniglot and Omniglot on small files in the published layouts, whole and broken."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawings import (
    CHARACTERS,
    CORNER,
    DURATION_US,
    NUM_DRAWERS,
    SENSOR,
    events_of,
    write_aedat4,
    write_drawings,
    write_strokes,
)
from drawings import write_table as write_intervals
from recordings import judged

from dvs_transfer.cache.digests import content_digest
from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.sources import nomniglot, open_source
from dvs_transfer.stages.sources.base import Events
from dvs_transfer.stages.sources.formats import isolated
from dvs_transfer.stages.sources.omniglot import OmniglotStrokes
from dvs_transfer.stages.sources.reader import Reader

CLASSES = ("Angelic/character01", "Angelic/character02", "Greek/character01", "Greek/character02")


@pytest.fixture
def drawings(tmp_path: Path) -> Path:
    return write_drawings(tmp_path)


def read(source: Reader, sample_id: str) -> Events:
    sample = next(sample for sample in source.samples if sample.sample_id == sample_id)
    recording = source.decode(sample, source.read_bytes(sample))
    return judged(recording, location=sample.location)


def problem(source: Reader, sample_id: str) -> str:
    with pytest.raises(SourceError) as error:
        read(source, sample_id)
    return str(error.value)


def character(folder: Path) -> Path:
    return folder / "nomniglot" / "dvs_evaluation" / CLASSES[0]


# Both


def test_recordings_and_drawings_have_the_same_classes_and_ids(drawings: Path) -> None:
    recorded, drawn = (open_source(name, drawings / name) for name in ("nomniglot", "omniglot"))
    assert recorded.class_names == drawn.class_names == CLASSES
    ids = [sample.sample_id for sample in recorded.samples]
    assert ids == [sample.sample_id for sample in drawn.samples]
    assert ids[:2] == ["Angelic/character01/01", "Angelic/character01/02"]
    assert ids == sorted(ids)
    assert len(ids) == 4 * NUM_DRAWERS
    assert [sample.label for sample in recorded.samples] == sorted(list(range(4)) * NUM_DRAWERS)


@pytest.mark.parametrize(("name", "parts"), [("nomniglot", CHARACTERS), ("omniglot", CHARACTERS)])
def test_a_part_can_be_had_alone(name: str, parts: dict[str, tuple[str, ...]], drawings: Path) -> None:
    folders = sorted((drawings / name).iterdir())
    for folder, classes in zip(folders, parts.values(), strict=True):  # background comes first in both
        assert open_source(name, folder).class_names == classes


@pytest.mark.parametrize("name", ["nomniglot", "omniglot"])
def test_a_folder_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "dvs_background_1.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(SourceError, match=r"expected .*found dvs_background_1\.rar.*github|figshare"):
        open_source(name, tmp_path)


def test_a_part_without_characters_is_refused(drawings: Path) -> None:
    shutil.rmtree(drawings / "nomniglot" / "dvs_evaluation" / "Angelic")
    with pytest.raises(SourceError, match=r"dvs_evaluation: expected <alphabet>/character<NN>, found nothing"):
        open_source("nomniglot", drawings / "nomniglot")


def test_the_same_character_twice_is_refused(drawings: Path) -> None:
    shutil.copytree(character(drawings), drawings / "nomniglot" / "dvs_background_1" / CLASSES[0])
    with pytest.raises(SourceError, match=r"character01: lies in .*, too"):
        open_source("nomniglot", drawings / "nomniglot")


def test_archives_that_were_unpacked_into_folders_of_their_names_are_found(drawings: Path) -> None:
    part = drawings / "nomniglot" / "dvs_evaluation"
    part.rename(drawings / "aside")
    part.mkdir()
    (drawings / "aside").rename(part / "dvs_evaluation")
    assert open_source("nomniglot", drawings / "nomniglot").class_names == CLASSES


# Recordings


def test_a_recording_is_what_its_interval_holds_of_the_writing_area(drawings: Path) -> None:
    source = open_source("nomniglot", drawings / "nomniglot")
    for label, name in enumerate(CLASSES):
        events, intervals = events_of(label)
        for drawer in (1, 2, NUM_DRAWERS):
            start, end = intervals[drawer - 1]
            expected = [
                (x - CORNER[0], y - CORNER[1], t, on)
                for t, x, y, on in events.tolist()
                if start <= t < end and 54 <= x < 304 and 4 <= y < 254
            ]
            found = read(source, f"{name}/{drawer:02d}")
            assert list(zip(found.x, found.y, found.t, found.p, strict=True)) == expected
            assert len(found) == len(set(zip(found.x, found.y, found.t, strict=True))) == 120
            assert found.sensor_size == source.sensor_size == (250, 250)


def test_the_area_reaches_to_its_last_pixel(drawings: Path) -> None:
    events, _ = events_of(0)
    corners = [(53, 100), (54, 4), (303, 253), (304, 253), (303, 254), (54, 3)]
    events[: len(corners)]["x"], events[: len(corners)]["y"] = np.transpose(corners)
    events = np.delete(events, slice(len(corners), 121))
    write_aedat4(character(drawings) / "0700.aedat4", events)
    found = read(open_source("nomniglot", drawings / "nomniglot"), "Angelic/character01/01")
    assert list(zip(found.x, found.y, strict=True)) == [(0, 0), (249, 249)]


def count_decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    decoded: list[Path] = []

    def counted(reader: isolated.IsolatedReader, path: Path) -> object:
        decoded.append(path)
        return isolated.read_pieces(reader, path)

    monkeypatch.setattr(nomniglot, "read_pieces", counted)
    return decoded


def test_a_file_is_decoded_once_for_its_20_recordings_and_not_at_all_for_their_identity(
    drawings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decodings(monkeypatch)
    source = open_source("nomniglot", drawings / "nomniglot")
    identities = [(source.read_bytes(sample), str(source.metadata(sample))) for sample in source.samples]
    assert len(set(identities)) == len(source.samples)
    assert decoded == []
    for sample in source.samples:
        source.decode(sample, source.read_bytes(sample))
    assert len(decoded) == len(set(decoded)) == len(CLASSES)


def test_a_change_of_the_file_or_the_table_changes_the_identity(drawings: Path) -> None:
    source = open_source("nomniglot", drawings / "nomniglot")
    first = source.samples[0]
    before = source.read_bytes(first)
    events, intervals = events_of(0)
    write_intervals(character(drawings) / "0700.csv", [(intervals[0][0], intervals[0][1] - 1), *intervals[1:]])
    shorter = source.read_bytes(first)
    assert read(source, first.sample_id).t.max() < intervals[0][1]
    events["y"][-5] += 1
    write_aedat4(character(drawings) / "0700.aedat4", events)
    assert len({before, shorter, source.read_bytes(first)}) == 3


def test_a_reader_survives_the_way_to_another_process(drawings: Path) -> None:
    source = open_source("nomniglot", drawings / "nomniglot")
    again = pickle.loads(pickle.dumps(source))
    assert read(again, "Greek/character02/07").t.tolist() == read(source, "Greek/character02/07").t.tolist()


Damage = Callable[[Path, list[tuple[int, int]]], object]
END = 1_633_000_000_000_000 + 10 * DURATION_US * NUM_DRAWERS
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no table": (lambda folder, _: (folder / "0700.csv").unlink(), "expected one file <NNNN>.csv, found none"),
    "two tables": (lambda folder, _: shutil.copy(folder / "0700.csv", folder / "0800.csv"), "0700.csv, 0800.csv"),
    "no recording": (lambda folder, _: (folder / "0700.aedat4").unlink(), "one file <NNNN>.aedat4, found none"),
    "19 lines": (lambda folder, rows: write_intervals(folder / "0700.csv", rows[1:]), "19 lines after the header"),
    "21 lines": (lambda folder, rows: write_intervals(folder / "0700.csv", rows * 2), "40 lines after the header"),
    "no text": (lambda folder, _: (folder / "0700.csv").write_bytes(b"\xff\xfe\xfa"), "cannot be read as a table"),
    "cut off": (
        lambda folder, _: (folder / "0700.aedat4").write_bytes((folder / "0700.aedat4").read_bytes()[:2000]),
        "0700.aedat4",
    ),
    "no AEDAT": (lambda folder, _: (folder / "0700.aedat4").write_bytes(b"nonsense" * 9), "is no AEDAT 4 file"),
    "before the recording": (
        lambda folder, rows: write_intervals(folder / "0700.csv", [(5, rows[0][1]), *rows[1:]]),
        "drawer 1: the interval from 5 to .* leaves the recording 0700.aedat4, which lasts from 1633",
    ),
    "after the recording": (
        lambda folder, rows: write_intervals(folder / "0700.csv", [(rows[0][0], END), *rows[1:]]),
        "drawer 1: the interval .* leaves the recording",
    ),
    "backwards": (
        lambda folder, rows: write_intervals(folder / "0700.csv", [rows[0][::-1], *rows[1:]]),
        "line 2: .* the end later than the start",
    ),
    "words": (
        lambda folder, rows: (folder / "0700.csv").write_text("a,b,c\n" + "1,soon,later\n" * 20),
        "line 2: '1,soon,later', expected a number, start and end in us",
    ),
    "empty": (
        lambda folder, rows: write_intervals(folder / "0700.csv", [(rows[0][1] + 1, rows[0][1] + 2), *rows[1:]]),
        "drawer 1: no event in it",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(name: str, drawings: Path) -> None:
    damage, says = DAMAGES[name]
    damage(character(drawings), events_of(0)[1])
    source = open_source("nomniglot", drawings / "nomniglot")
    with pytest.raises(SourceError, match=says):
        read(source, "Angelic/character01/01")
    assert len(read(source, "Angelic/character02/01")) == 120


def test_a_broken_line_costs_its_drawer_alone_and_a_damaged_file_is_tried_once(
    drawings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decodings(monkeypatch)
    table = character(drawings) / "0700.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:3], "2,,", *lines[4:]]))
    damaged = drawings / "nomniglot" / "dvs_background_1" / CLASSES[2] / "0702.aedat4"
    damaged.write_bytes(b"#!AER-DAT4.0\r\n" + b"nonsense" * 9)
    config = ConvertConfig(source="nomniglot", raw=drawings / "nomniglot", out=drawings / "cache")
    report = conversion.run(config)
    broken = ["Angelic/character01/03", *(f"Greek/character01/{drawer:02d}" for drawer in range(1, 21))]
    assert sorted(report.quarantined) == broken
    assert "line 4: '2,,'" in report.quarantined[broken[0]]
    assert sum("0702" in path.name for path in decoded) == 1


def test_more_events_than_memory_is_meant_for_are_refused(drawings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomniglot, "_MAX_EVENTS", 2399)
    source = open_source("nomniglot", drawings / "nomniglot")
    assert "more than 2399 events" in problem(source, "Angelic/character01/01")


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "dvs_evaluation.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(SourceError, match=r"unpack the archives"):
        open_source("nomniglot", tmp_path / "dvs_evaluation.rar")


def test_the_sensor_is_that_of_the_camera() -> None:
    left, top, width, height = nomniglot.WRITING_AREA
    assert (left, top) == CORNER
    assert left + width <= SENSOR[0]
    assert top + height <= SENSOR[1]


# Drawings


def test_omniglot_is_read_from_its_archives(drawings: Path) -> None:
    plain = open_source("omniglot", drawings / "omniglot")
    zipped = drawings / "zipped"
    zipped.mkdir()
    for part in (drawings / "omniglot").iterdir():
        with zipfile.ZipFile(zipped / f"{part.name}.zip", "w") as archive:
            for path in sorted(part.rglob("*.png")):
                archive.write(path, path.relative_to(part.parent))
    found = open_source("omniglot", zipped)
    assert [sample.sample_id for sample in found.samples] == [sample.sample_id for sample in plain.samples]
    for mine, theirs in zip(found.samples, plain.samples, strict=True):
        assert found.read_bytes(mine) == plain.read_bytes(theirs)
    image = found.decode(found.samples[0], found.read_bytes(found.samples[0]))
    assert image.shape == (105, 105, 3)
    assert np.unique(image).tolist() == [0, 255]
    assert image.mean() > 200  # black strokes on white
    alone = open_source("omniglot", zipped / "images_background.zip")
    assert alone.class_names == CHARACTERS["background"]


def test_a_missing_drawing_is_reported_and_a_21st_refused(drawings: Path) -> None:
    folder = drawings / "omniglot" / "images_evaluation" / CLASSES[0]
    (folder / "0700_07.png").rename(drawings / "kept.png")
    source = open_source("omniglot", drawings / "omniglot")
    assert len(source.samples) == 4 * NUM_DRAWERS
    with pytest.raises(SourceError, match=r"NNNN_07\.png: cannot be read"):
        source.read_bytes(source.samples[6])
    (drawings / "kept.png").rename(folder / "0700_21.png")
    with pytest.raises(SourceError, match=r"0700_21\.png: drawer 21, expected 1 to 20"):
        open_source("omniglot", drawings / "omniglot")


def test_strokes_are_those_of_the_drawing_s_own_name(drawings: Path) -> None:
    """Another file of the same drawer is none of them, and is told."""
    write_strokes(drawings)
    folder = drawings / "omniglot" / "strokes_evaluation" / CLASSES[0]
    (folder / "0701_05.txt").write_text((folder / "0700_06.txt").read_text())
    source = open_source("omniglot-strokes", drawings / "omniglot")
    assert isinstance(source, OmniglotStrokes)
    sample = source.samples[4]
    assert source.metadata(sample) == {"strokes": content_digest((folder / "0700_05.txt").read_bytes())}
    assert source.ignored_files().examples == (str(folder / "0701_05.txt"),)
