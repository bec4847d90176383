"""Calibration finds the camera that recordings were drawn with, and says what it found as a configuration."""

from __future__ import annotations

import tomllib

import pytest
import torch
from command_line import refuse, succeed
from tiny import DEMO, write_config

from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.stages import calibration
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.saccades.pixels import Camera

SIZE, NUM_BINS = 24, 6


def photos(count: int, seed: int) -> torch.Tensor:
    """Discs and bars on black, not all in the middle."""
    draws = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE) / SIZE, torch.arange(SIZE) / SIZE, indexing="ij")
    centre = 0.35 + 0.3 * torch.rand(count, 2, 1, 1, generator=draws)
    radius = 0.12 + 0.15 * torch.rand(count, 1, 1, generator=draws)
    disc = (((x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2).sqrt() < radius).float()
    bar = ((x - centre[:, 1]).abs() < 0.05).float() * 0.6
    return torch.maximum(disc, bar)[:, None]


@pytest.mark.parametrize("inverted", [False, True])
def test_the_camera_of_drawn_recordings_is_found(inverted):
    true = SaccadeConfig(
        amplitude=(0.11, 0.13), on_threshold=(0.36, 0.44), off_threshold=(0.5, 0.6), speed=(1.03, 1.04),
        scale=(0.8, 0.85),
        inverted=inverted, noise=(0.2, 0.3), surround="black", start=(0.0, 0.01),
    )  # fmt: skip
    recordings = Camera(true, NUM_BINS, SIZE).record(photos(100, 1), torch.Generator().manual_seed(1))
    search = calibration._Search(recordings, photos(100, 2))
    start = SaccadeConfig(surround="black")
    tried = {
        tried: search.fit(start.model_copy(update={"inverted": tried, "amplitude": (0.1, 0.1)}), 200)
        for tried in (False, True)
    }
    found = min(tried.values(), key=search.error)
    assert found.inverted == inverted
    assert search.error(found) < 0.4 * search.error(start)
    for field in ("amplitude", "on_threshold", "off_threshold", "scale"):
        ratio = sum(getattr(found, field)) / sum(getattr(true, field))
        assert 0.75 < ratio < 1.33, (field, getattr(found, field))
    assert abs(sum(found.speed) / 2 - 1.035) < 0.05
    assert found.off_threshold[0] > found.on_threshold[0]


def test_thresholds_that_are_wide_apart_make_as_many_events_as_were_recorded(tmp_path, monkeypatch):
    """Wider apart around the same middles they would make fewer: the middles are looked for again."""
    true = SaccadeConfig(on_threshold=(0.2, 0.8), off_threshold=(0.2, 0.8), surround="black")
    recordings = Camera(true, NUM_BINS, SIZE).record(photos(200, 1), torch.Generator().manual_seed(1))
    search = calibration._Search(recordings, photos(160, 2))
    narrow = search.fit(true.model_copy(update={"on_threshold": (0.3, 0.5), "off_threshold": (0.3, 0.5)}), 80)
    factor = search.spread(narrow)
    assert factor == 2
    wanted = float(recordings.sum()) / len(recordings)
    found = search.fit(narrow, 80, factor)
    assert found.on_threshold[1] / found.on_threshold[0] == pytest.approx(factor**2, rel=0.02)
    assert float(search.draw(found).sum()) / 160 == pytest.approx(wanted, rel=0.04)
    middle = float((found.on_threshold[0] * found.on_threshold[1]) ** 0.5)
    assert middle < 0.97 * float((narrow.on_threshold[0] * narrow.on_threshold[1]) ** 0.5)


def test_the_command_prints_a_section_for_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_FIRST_TRIALS", 10)
    monkeypatch.setattr(calibration, "_TRIALS", 10)
    monkeypatch.setattr(calibration, "_NUM_PHOTOS", 10)
    config = write_config(tmp_path, DEMO)
    made = succeed("--quiet", "--root", tmp_path, "preprocess", "--config", config, "--json").document
    pairs, picture = made["pairs"]["path"], tmp_path / "side by side.png"
    outcome = succeed("calibrate", pairs, "--out", picture, "--set", "motion=loop")
    found = tomllib.loads(outcome.out)["train"]["saccade"]
    assert SaccadeConfig.model_validate(found).motion == "loop"
    assert picture.stat().st_size > 1000
    for inverted in ("true", "false"):
        outcome = succeed("calibrate", pairs, "--out", picture, "--set", f"inverted={inverted}")
        assert f"inverted = {inverted}" in outcome.out.splitlines()
    refuse("calibrate", pairs, "--out", tmp_path / "p.jpg", code=2, says=["give a name that ends in .png"])
    known = "'circle' is none of drift, loop, saccades, strokes"
    refuse("calibrate", pairs, "--set", "motion=circle", code=2, says=[known])


def test_without_labels_all_recordings_that_may_train_are_read_and_photos_of_any_class(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_FIRST_TRIALS", 8)
    monkeypatch.setattr(calibration, "_TRIALS", 8)
    config = write_config(tmp_path, DEMO, pairing={"train": 0.6, "validation": 0.2, "test": 0.2, "train_per_class": 1})
    made = succeed("--quiet", "--root", tmp_path, "preprocess", "--config", config, "--json").document
    pairs, split = made["pairs"]["path"], PairedCache.open(made["pairs"]["path"], "train")
    picture = ("--out", tmp_path / "p.png")
    with_labels = succeed("calibrate", pairs, *picture, "--json").document
    assert with_labels["num_recordings"] == len(split) == 10
    without = succeed("calibrate", pairs, *picture, "--unlabelled", "--json").document
    assert without["num_recordings"] == len(split.unlabelled) == 30
    frames = split.unlabelled.load_events().astype(float)
    assert without["recorded"] == pytest.approx(frames.sum((3, 4)).mean(0), rel=1e-4)

    def no_labels(*_: object) -> None:
        raise AssertionError("a label was read")

    monkeypatch.setattr(PairedCache, "event_labels", property(no_labels))
    monkeypatch.setattr(PairedCache, "image_labels", property(no_labels))
    again = succeed("calibrate", pairs, *picture, "--unlabelled", "--json").document
    assert again["saccade"] == without["saccade"]
