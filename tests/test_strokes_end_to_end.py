"""Drawn characters with their strokes: converted, paired, shown as they were drawn, evaluated and calibrated."""

from __future__ import annotations

import textwrap
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refuse, succeed
from drawings import write_drawings, write_strokes

from dvs_transfer import PairedCache
from dvs_transfer.cache.documents import flatten
from dvs_transfer.pipeline.config import load_config
from dvs_transfer.stages import calibration
from dvs_transfer.stages.batches.data import read_static
from dvs_transfer.stages.frames.strokes import encode_strokes
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.saccades.pixels import Camera

CONFIG = (
    *("--config", "configs/nomniglot.toml", "--set", "train.epochs=1", "--set", "train.threads=1"),
    *("--set", "train.batch_size=15", "--set", "train.encoding=saccade", "--set", "train.saccade.motion=strokes"),
)
RECIPE = ("--config", "configs/nomniglot-strokes.toml", "--set", "train.epochs=1", "--set", "train.threads=1")
STROKES = (*CONFIG, "--set", "images.source=omniglot-strokes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_strokes(write_drawings(root / "data" / "raw"))
    return root


def run(root: Path, *command: str) -> Any:
    return succeed("--quiet", "--root", root, *command, "--json").document


@pytest.fixture(scope="module")
def pairs(root: Path) -> Path:
    made = run(root, "preprocess", *STROKES)
    assert (made["images"]["num_samples"], made["images"]["quarantined"]) == (80, {})
    assert made["pairs"]["num_with_photo"] == 80
    return Path(made["pairs"]["path"])


def test_training_is_shown_what_was_drawn_when(root: Path, pairs: Path) -> None:
    split = PairedCache.open(pairs, "train")
    assert split.has_strokes
    dots = read_static(split, "strokes", np.arange(3))
    np.testing.assert_array_equal(dots, split.load_strokes()[:3])
    np.testing.assert_array_equal(split.read_strokes(np.arange(2)), split.load_strokes(split.photo[:2]))
    trained = run(root, "train", *STROKES)["run"]
    assert run(root, "evaluate", trained)["num_samples"] == 20
    # Bars lie at the places of their classes, half of each drawn in the first half of the time, and half in the second.
    camera = Camera(SaccadeConfig(motion="strokes", noise=(0, 0), ink=(1, 1)), split.num_bins, split.size)
    rows = np.flatnonzero(split.image_labels == 1)
    frames = camera.record(torch.from_numpy(read_static(split, "strokes", rows)), torch.Generator().manual_seed(0))
    pictures = split.load_images(rows)[:, 0].mean(0)
    dark = frames[:, :, 0].sum((0, 1)).numpy()
    y, x = np.indices(dark.shape)
    ink = 255 - pictures
    for axis in (x, y):
        assert (dark * axis).sum() / dark.sum() == pytest.approx((ink * axis).sum() / ink.sum(), abs=0.7)
    halves = [frames[:, part].sum((0, 1, 2)) for part in (slice(0, 6), slice(6, 12))]
    left, right = (float((half * torch.from_numpy(x)).sum() / half.sum()) for half in halves)
    assert right - left > 0.3 * split.size


def test_the_shipped_recipe_is_what_the_page_says(root: Path, repository: Path) -> None:
    page = (repository / "docs" / "datasets" / "nomniglot.md").read_text()
    shown = page[page.index("    [images]") : page.index("as `configs/nomniglot-strokes.toml` does")]
    recipe = load_config(repository / "configs" / "nomniglot-strokes.toml")
    for section, values in tomllib.loads(textwrap.dedent(shown)).items():
        for key, value in flatten(values).items():
            assert attrgetter(key)(getattr(recipe, section)) in (value, Path(value)), key
    run(root, "preprocess", *RECIPE)
    assert run(root, "evaluate", run(root, "train", *RECIPE)["run"])["num_samples"] == 20


@pytest.mark.parametrize("method", ["mixture", "finetune", "timestep_mixup"])
def test_other_methods_show_strokes(root: Path, pairs: Path, method: str) -> None:
    more = ("--set", "train.epochs=2") if method == "finetune" else ()
    run(root, "train", *STROKES, "--set", f"train.method={method}", *more)


def test_an_analysis_shows_them_too(root: Path, pairs: Path) -> None:
    trained = run(root, "train", *STROKES, "--set", "train.method=mixture")["run"]
    found = run(root, "analyse", "grad-cam", trained, "--num-recordings", "4", "--split", "train", "--threads", "1")
    assert found


def test_a_camera_is_proposed(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_FIRST_TRIALS", 12)
    monkeypatch.setattr(calibration, "_TRIALS", 12)
    monkeypatch.setattr(calibration, "_NUM_PHOTOS", 10)
    outcome = succeed("calibrate", pairs, "--out", tmp_path / "a.png", "--set", "motion=strokes")
    found = SaccadeConfig.model_validate(tomllib.loads(outcome.out)["train"]["saccade"])
    assert found.motion == "strokes"
    assert found.ink != SaccadeConfig().ink
    assert found.amplitude == SaccadeConfig().amplitude
    Camera(found, 12, 28).check()


def test_calibration_tells_how_long_ink_stays() -> None:
    """Of drawn recordings, where it stays for two time bins: more than the shorter beginning, and about as long."""
    num_bins, size = 8, 16
    rng = np.random.default_rng(0)
    drawings = []
    for _ in range(40):  # two lines without a pause
        a, b, c = rng.uniform(0.2, 0.8, (3, 2))
        points = np.concatenate([np.linspace(a, b, 20), np.linspace(b, c, 20)[1:]])
        drawings.append((np.column_stack([points, np.arange(39.0)]),))
    dots = torch.from_numpy(np.stack([encode_strokes(drawing, "") for drawing in drawings]))
    true = SaccadeConfig(
        motion="strokes", ink=(0.24, 0.26), noise=(0, 0.1), on_threshold=(0.35, 0.4), off_threshold=(0.3, 0.35)
    )
    search = calibration._Search(Camera(true, num_bins, size).record(dots, torch.Generator().manual_seed(1)), dots)
    start = SaccadeConfig(motion="strokes")
    tried = [search.fit(start.model_copy(update={"ink": (at, at)}), 80) for at in calibration._BEGINNINGS]
    found = min(tried, key=search.error)
    assert search.error(found) < 0.8 * search.error(start)
    assert 0.12 < np.sqrt(found.ink[0] * found.ink[1]) < 0.5


def test_images_without_strokes_are_refused_before_training(root: Path) -> None:
    made = run(root, "preprocess", *CONFIG)
    refuse("--root", root, "train", *CONFIG, code=1, says=["source omniglot-strokes (images.source)"])
    refuse("calibrate", made["pairs"]["path"], "--set", "motion=strokes", code=1, says=["needs images with strokes"])


def test_a_teacher_of_brightness_is_refused(root: Path, pairs: Path) -> None:
    refuse(
        "--root", root, "train", *STROKES, "--set", "train.method=distillation",
        code=1, says=["teaches its teacher the brightness of images"],
    )  # fmt: skip


def test_ink_that_nobody_could_see_is_refused(root: Path, pairs: Path) -> None:
    refuse("--root", root, "train", *STROKES, "--set", "train.saccade.ink=[0.001,0.1]", code=1, says=["let it stay"])
