"""Long recordings cut into pieces: converted, paired, trained, evaluated, in each layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refuse, succeed
from long_recordings import GESTURES, write, write_classes, write_gestures, write_table
from own_recordings import make_events
from PIL import Image
from tiny import write_config

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import Events
from dvs_transfer.stages.sources.formats import columns

ALONE = {
    "pairing": {"train": 0.5, "validation": 0.25, "test": 0.25},
    "train": {"method": "events", "batch_size": 4, "warmup_epochs": 0},
    "events": {"source": "segments", "raw": "long"},
}
WINDOWS = {"every_us": 60_000, "length_us": 60_000}


def write_lines(raw: Path) -> None:
    """A table of six recordings, in which both classes are."""
    lines = []
    for number in range(6):
        write(raw / f"person{number}" / "room.npz", number, "columns.npz")
        lines += [f"person{number}/room.npz,{start},{start + 50_000},{'ab'[start > 0]}" for start in (0, 100_000)]
    (raw / "segments.csv").write_text("\n".join(("file,start_us,end_us,label", *lines)))


@pytest.mark.parametrize(
    ("write_raw", "windows", "num_samples"),
    [
        (lambda raw: write_gestures(raw, 4), None, 4 * len(GESTURES)),
        (write_lines, None, 12),
        (lambda raw: write_classes(raw, 4), WINDOWS, 2 * 4 * 4),
    ],
    ids=["gestures", "table", "classes"],
)
def test_from_raw_data_to_an_evaluated_network(
    write_raw: Callable[[Path], Any], windows: dict[str, int] | None, num_samples: int, tmp_path: Path
) -> None:
    write_raw(tmp_path / "data" / "raw" / "long")
    config = write_config(tmp_path, ALONE, frames={"windows": windows} if windows else {})
    root = ("--quiet", "--root", tmp_path)
    processes = ("--scheduler", "processes", "--workers", "2")
    made = succeed(*root, "preprocess", "--config", config, "--json", *processes).document
    assert (made["events"]["num_samples"], made["events"]["quarantined"]) == (num_samples, {})
    assert made["pairs"]["num_train"] + made["pairs"]["num_validation"] + made["pairs"]["num_test"] == num_samples
    run = succeed(*root, "train", "--config", config, "--json").document["run"]
    evaluated = succeed(*root, "evaluate", run, "--json").document
    assert evaluated["num_samples"] == made["pairs"]["num_test"] > 0
    again = succeed(*root, "preprocess", "--config", config, "--json").document
    assert not again["events"]["was_built"]
    assert again["events"]["path"] == made["events"]["path"]
    files = (tmp_path / "data" / "raw" / "long").rglob("*.*")
    file = next(path for path in files if path.suffix in (".aedat", ".npz"))  # is one recording as it is
    predicted = succeed(*root, "predict", run, file, "--json").document
    assert predicted["source"] == "segments"
    assert len(predicted["predictions"]) == 1


def convert(raw: Path, *options: str) -> Any:
    command = ("--quiet", "convert", "segments", raw, "--out", raw.parent / "out", "--size", "16", "--resize", "sum")
    return succeed(*command, "--json", *options).document


def test_frames_are_those_of_the_slices_also_of_recordings_that_are_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_gestures(tmp_path / "raw")
    monkeypatch.setattr(columns, "HELD_EVENTS", 150)  # fewer than some pieces have
    store = FrameStore(Path(convert(tmp_path / "raw")["path"]))
    frames = store.read("frames")
    config = FramesConfig(size=16, resize="sum")
    for row, (sample_id, metadata) in enumerate(zip(store.sample_id, store.column("metadata"), strict=True)):
        place = json.loads(str(metadata))
        whole = made[str(sample_id).split("/")[-1].partition("@")[0]]
        inside = (whole.t >= place["start_us"]) & (whole.t < place["end_us"])
        piece = Events(whole.x[inside], whole.y[inside], whole.t[inside], whole.p[inside])
        np.testing.assert_array_equal(frames[row], make_frames(piece, config, (128, 128)).data)
        assert store.column("num_events")[row] == inside.sum()
    digests = store.column("source_digest").tolist()
    assert len(set(digests)) == 2  # of two files


def test_pieces_without_events_are_quarantined_and_left_out_windows_told(tmp_path: Path) -> None:
    write_table(tmp_path / "raw", "two.csv,0,60000,walk", "two.csv,400000,500000,run", "a/one.npz,0,1000,run")
    report = convert(tmp_path / "raw")
    assert report["num_samples"] == 2
    ((name, problem),) = report["quarantined"].items()
    assert name == "run/two@0000400000+100000us"
    assert f"two.csv, 400000 to 500000 us ({tmp_path}/raw/segments.csv: line 3): no event in it; the rec" in problem
    table = ("--windows", "{ every_us = 50_000, length_us = 50_000 }")
    report = convert(tmp_path / "raw", *table)
    assert report["num_samples"] == 1
    left_out = "2 windows that would go beyond the end of their segment or recording were left out, of 5"
    assert left_out in report["warnings"][0]
    assert report["ignored_files"]["num_unexpected"] == 0  # a recording without a window is none of them
    assert left_out in convert(tmp_path / "raw", *table)["warnings"][0]  # also of a store that is there


def test_a_segment_that_moves_makes_another_store(tmp_path: Path) -> None:
    write_table(tmp_path / "raw", "two.csv,0,60000,walk", "a/one.npz,0,1000,run")
    first = convert(tmp_path / "raw")
    write_table(tmp_path / "raw", "two.csv,0,60001,walk", "a/one.npz,0,1000,run")
    moved = convert(tmp_path / "raw")
    assert moved["was_built"]
    assert moved["path"] != first["path"]


def test_times_that_step_back(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_table(raw, "late.csv,0,50,walk", "late.csv,50,100,run")
    lines = [(1, 1, 10, 1), (1, 2, 30, 1), (2, 1, 20, 1), (3, 1, 60, 0), (4, 1, 45, 0), (3, 2, 70, 0)]
    (raw / "late.csv").write_text("x,y,t,p\n" + "".join(f"{x},{y},{t},{p}\n" for x, y, t, p in lines))
    report = convert(raw)
    (problem,) = report["quarantined"].values()
    assert "time runs backwards at event 2: 20 us after 30 us" in problem
    report = convert(raw, "--order", "sort")
    store = FrameStore(Path(report["path"]))
    assert store.column("num_events").tolist() == [2, 4]  # the late one is in the piece of its time
    assert any("1 events of 1 recordings were earlier than one before them" in told for told in report["warnings"])


def test_windows_are_for_recordings_alone(tmp_path: Path) -> None:
    """Images of the same configuration are read as ever, also where the recordings' unit is said."""
    raw = tmp_path / "data" / "raw"
    for class_name in ("box", "mug"):
        for number in range(4):
            write(raw / "long" / class_name / f"{class_name}_{number}.npz", number, "columns.npz")
            (raw / "images" / class_name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(raw / "images" / class_name / f"{number}.png")
    ms = {"every_us": 60_000_000, "length_us": 60_000_000}
    camera = {"sensor_width": 48, "sensor_height": 36, "on_threshold": 0.45, "noise_rate_hz": 0.0}
    images = {"source": "image-folder", "raw": "images", "recorded": camera}
    config = write_config(tmp_path, ALONE, {"images": images, "frames": {"windows": ms, "time_unit": "ms"}})
    made = succeed("--quiet", "--root", tmp_path, "preprocess", "--config", config, "--json").document
    assert made["recorded"]["num_samples"] == 8, "frames made alike"
    assert made["events"]["num_samples"] == 2 * 4 * 4
    assert made["images"]["num_samples"] == 8
    lasts_ms = int(make_events(seed=0).t[-1])
    durations = FrameStore(Path(made["events"]["path"])).column("duration_us")
    assert durations.max() < 60_000_000 < lasts_ms * 1000


def test_what_the_command_line_refuses(tmp_path: Path) -> None:
    write_classes(tmp_path / "raw")
    command = ("convert", "segments", tmp_path / "raw", "--out", tmp_path / "out")
    refuse(*command, code=1, says=["holds folders of recordings and no segments.csv", "convert: --windows"])
    refuse(*command, "--windows", "{ every_us = 5 }", code=2, says=["windows.length_us: missing"])
    refuse(*command, "--windows", "{ every_us = 0, length_us = 5 }", code=2, says=["windows.every_us: input sho"])
    refuse(*command, "--windows", "{ every_us 5 }", code=2, says=["--windows", "Expected '='"])
    refuse(*command, "--windows", "5", code=2, says=["windows: input should be a valid dictionary"])
    windows = ("--windows", "{ every_us = 5, length_us = 5 }")
    other = ("convert", "folder", tmp_path / "raw", "--out", tmp_path / "out", *windows)
    refuse(*other, code=2, says=["frames.windows: is for the source segments; folder is not cut"])
