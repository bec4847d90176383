"""What a conversion tells: the share of events in the frames, doubtful times, samples and classes that are none."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import succeed
from own_recordings import WRITERS, as_structured, make_events

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.conversion.notices import DURATIONS_US, RATES, share_in_frames
from dvs_transfer.stages.conversion.run import ConversionReport
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.preview import choose_samples
from dvs_transfer.stages.sources.base import Events

from naive import bounding_box, num_in_frames
from stores import build_store

LARGE = (1280, 720)


def convert(raw: Path, **frames: Any) -> ConversionReport:
    settings = FramesConfig(**frames)
    return conversion.run(ConvertConfig(source="folder", raw=raw, out=raw.parent, frames=settings))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Three recordings of a large sensor, in two classes; the last one saw a part of 60 x 50 pixels alone."""
    for number, sensor in enumerate((LARGE, LARGE, (60, 50))):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, as_structured(make_events(20_000 * (number + 1), number, sensor)))
    return tmp_path / "raw"


def shares(events: list[Events], size: int | None) -> list[float]:
    """By the definition, of frames in mode `time`."""
    found = []
    for recording in events:
        listed = list(zip(*(getattr(recording, name).tolist() for name in "xytp"), strict=True))
        box = bounding_box(listed)
        found.append(num_in_frames(listed, "time", 10, None, box, size) / len(listed))
    return found


@pytest.mark.parametrize(("resize", "size"), [("bilinear", 48), ("sum", None)])
def test_the_share_of_events_in_the_frames_is_reported(large: Path, resize: str, size: int | None) -> None:
    events = [make_events(20_000 * (k + 1), k, sensor) for k, sensor in enumerate((LARGE, LARGE, (60, 50)))]
    report = convert(large, resize=resize)
    assert report.share_in_frames is not None
    assert report.share_in_frames.median == pytest.approx(np.median(shares(events, size)))
    assert report.share_in_frames.percentile_5 == pytest.approx(np.percentile(shares(events, size), 5))
    assert share_in_frames(FrameStore(report.path)) == report.share_in_frames


def test_a_low_share_is_told_with_what_to_do(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (warning,) = convert(large).warnings
    assert warning.startswith("of a recording's events 0.99% reach its frames (median; 5th percentile 0.93%)")
    assert "reads at most 96 of 1280 columns and of 720 rows" in warning
    assert "--set frames.resize=sum; convert: --resize sum" in warning
    assert "a larger frames.size" in warning
    assert caplog.messages == [f"{large}: {warning}"]
    assert convert(large, resize="sum").warnings == ()
    (whole,) = convert(large, crop=False, sensor_size=LARGE).warnings
    assert "else frames.crop = true, a larger frames.size" in whole


def test_events_in_no_bin_are_told_as_such(large: Path) -> None:
    (warning,) = convert(large, resize="sum", mode="window", window_us=100, num_bins=2).warnings
    assert "are in no time bin of mode 'window'" in warning
    assert "--set frames.mode=exact" in warning
    assert convert(large, resize="sum", mode="exact").share_in_frames.median == 1  # type: ignore[union-attr]


def test_the_command_shows_share_and_warning(large: Path) -> None:
    told = succeed("-v", "convert", "folder", large, "--out", large.parent)
    assert "share in frames" in told.out
    assert "\n    median: 0.0098" in told.out
    assert "\n    percentile_5: 0.0093" in told.out
    again = succeed("convert", "folder", large, "--out", large.parent, "--json").document
    assert not again["was_built"]
    assert "of a recording's events" in again["warnings"][0]
    info = succeed("cache", "info", again["path"], "--json").document
    assert info["share_in_frames"] == again["share_in_frames"]


def test_a_store_from_before_the_share_was_counted_is_still_read(tmp_path: Path) -> None:
    path = build_store(tmp_path, "events")
    assert share_in_frames(FrameStore(path)) is None
    assert verify_store(path).is_whole
    assert succeed("cache", "info", path, "--json").document["share_in_frames"] is None
    assert [sample.title for sample in choose_samples(FrameStore(path), 1)] == ["ant/image_0000"]


def test_a_picture_says_what_it_shows(large: Path) -> None:
    (sample,) = choose_samples(FrameStore(convert(large, resize="sum").path), 1)
    assert (sample.title, sample.about) == ("a/0", "20,000 events, 100.0% in these frames")


# Times


def write_times(folder: Path, factor: float, number_type: type, num_events: int = 2000) -> Path:
    """Recordings of 0.3 s on 64 x 48 pixels as NumPy files; their times in a unit of 1 us / factor."""
    for number, class_name in enumerate("ab"):
        events = make_events(num_events, number)
        t = (events.t * factor).astype(number_type)
        path = folder / "raw" / class_name / "x.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, x=events.x, y=events.y, t=t, p=events.p)
    return folder / "raw"


@pytest.mark.parametrize(
    ("factor", "number_type", "taken", "unit"),
    [
        (1e-3, float, "fractions taken for s they last 300 s", "ms"),
        (1000, int, "whole numbers taken for us they last 300 s", "ns"),
        (1e-3, int, "whole numbers taken for us they last 299 us", "ms"),
    ],
)
def test_times_of_another_unit_are_told(
    tmp_path: Path, factor: float, number_type: type, taken: str, unit: str
) -> None:
    raw = write_times(tmp_path, factor, number_type)
    (warning,) = convert(raw).warnings
    assert taken in warning
    assert "ms as " + unit in warning
    assert f"--set frames.time_unit={unit}; convert: --time-unit {unit}" in warning
    assert convert(raw, time_unit=unit).warnings == ()


def test_whole_numbers_are_microseconds_in_every_type(tmp_path: Path) -> None:
    """MATLAB, and tables that hold seconds of others too, have all numbers in floating point."""
    report = convert(write_times(tmp_path, 1, float))
    assert report.warnings == ()
    assert FrameStore(report.path).column("duration_us").max() < 300_000


def test_a_long_recording_of_milliseconds(tmp_path: Path) -> None:
    """999 s by the guess, and dense enough to be that long: told, until the unit is set, also as guessed."""
    path = tmp_path / "raw" / "a" / "x.npy"
    path.parent.mkdir(parents=True)
    table = as_structured(make_events(300_000)).astype([(name, "<f8") for name in "xypt"])
    table["t"] = np.linspace(0, 999.0, len(table))
    np.save(path, table)
    (warning,) = convert(path.parent.parent).warnings
    assert "with fractions taken for s they last 999 s (median)" in warning
    assert "it would be 999 ms as ms" in warning
    assert convert(path.parent.parent, time_unit="s").warnings == ()


def test_one_recording_of_another_unit_among_others_is_named(tmp_path: Path) -> None:
    raw = write_times(tmp_path, 1, int)
    write_times(tmp_path / "ms", 1e-3, float)
    (tmp_path / "ms" / "raw" / "b" / "x.npz").rename(raw / "b" / "y.npz")
    write_times(tmp_path / "s", 1e-6, float)
    (tmp_path / "s" / "raw" / "b" / "x.npz").rename(raw / "b" / "z.npz")
    (warning,) = convert(raw).warnings
    assert warning.startswith("1 of 2 recordings that state no unit of time (b/y) have unusual times: with fractions")


@pytest.mark.parametrize(("factor", "number_type"), [(1, int), (1e-6, float)])
def test_times_that_are_usual_are_not_told(tmp_path: Path, factor: float, number_type: type) -> None:
    assert convert(write_times(tmp_path, factor, number_type)).warnings == ()


def test_formats_that_state_their_unit_are_believed(tmp_path: Path) -> None:
    """Five minutes of few events, in a format whose times are us."""
    for class_name in "ab":
        (tmp_path / "raw" / class_name).mkdir(parents=True)
        events = make_events(200)
        WRITERS["two.raw"](tmp_path / "raw" / class_name / "x.raw", replace(events, t=events.t * 1000))
    report = convert(tmp_path / "raw")
    assert FrameStore(report.path).column("guessed_unit").tolist() == ["", ""]
    assert report.warnings == ()


def test_what_was_assumed_of_a_file_is_told(tmp_path: Path) -> None:
    """Of jAER's files without a camera; what a format states is not."""
    for class_name, name in (("a", "jaer.aedat"), ("b", "caer.aedat")):
        (tmp_path / "raw" / class_name).mkdir(parents=True)
        WRITERS[name](tmp_path / "raw" / class_name / name, make_events(200))
    (warning,) = convert(tmp_path / "raw").warnings
    assert warning == "each of 1 recordings (a/jaer) names no camera, and has the addresses of a DVS128"


def test_a_stream_keeps_what_its_unit_was_guessed_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvs_transfer.stages.sources.formats.columns.HELD_EVENTS", 1000)
    report = convert(write_times(tmp_path, 1000, int))
    assert FrameStore(report.path).column("guessed_unit").tolist() == ["us", "us"]
    assert len(report.warnings) == 1


def test_the_bounds_leave_room_for_one_wrong_factor_of_a_thousand(shared_data: Path, tmp_path: Path) -> None:
    """Every real recording here is within them, and none is when its times are off by 1,000."""
    for name in ("dvxplorer.aedat4", "evt2.raw", "evt3_gen41.raw", "nmnist_sample.bin"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / name).write_bytes((shared_data / "recordings" / name).read_bytes())
    store = FrameStore(convert(tmp_path / "raw").path)
    seconds = store.column("duration_us") / 1e6
    rates = store.column("num_events") / seconds / store.column("sensor_size").prod(axis=1)
    assert ((rates > RATES[0]) & (rates < RATES[1])).all()
    assert ((rates * 1000 > RATES[1]) & (rates / 1000 < RATES[0])).all()
    assert (seconds * 1e6 > DURATIONS_US[0]).all()


# Samples and classes


def test_samples_do_not_count_broken_ones_and_empty_classes_are_named(large: Path) -> None:
    (large / "b" / "1.npy").write_bytes(b"no recording, \x00 of no format")
    (large / "a" / "broken.npy").write_bytes(b"no recording, \x00 of no format")
    report = convert(large, resize="sum")
    assert report.num_samples == 2
    assert sorted(report.quarantined) == ["a/broken", "b/1"]
    assert report.warnings == ("classes without a readable sample: b; fetch them, or go on without them",)
    listed = succeed("--root", large.parent / "none", "cache", "ls").out
    assert listed.startswith("0 stores")
    assert FrameStore(report.path).attributes.num_samples == 4


def test_a_folder_of_mostly_other_files_is_told(large: Path) -> None:
    for name in ("x", "y", "z"):
        (large / "b" / f"{name}.npy").write_bytes(b"no recording, \x00 of no format")
    assert not convert(large, resize="sum").warnings
    (large / "b" / "w.npy").write_bytes(b"no recording, \x00 of no format")
    (told,) = convert(large, resize="sum").warnings
    assert told.startswith("4 of 7 samples cannot be read, more than half: are these files of folder, <class>/<name>")


def test_the_list_of_stores_counts_readable_samples(large: Path) -> None:
    (large / "b" / "1.npy").write_bytes(b"no recording, \x00 of no format")
    root = large.parent / "root"
    succeed("--root", root, "convert", "folder", large, "--resize", "sum")
    (entry,) = succeed("--root", root, "cache", "ls", "--json").document
    assert entry["num_samples"] == 2
