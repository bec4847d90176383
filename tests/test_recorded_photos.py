"""Photos shown as what a simulated camera recorded of them: from the configuration to what a step shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import refuse, run_command, succeed
from numpy.typing import NDArray
from PIL import Image
from raw_data import write_raw_data
from tiny import RAW, TINY, metrics_of, preprocess, train_command, write_config

from dvs_transfer.cache.errors import StoreError, TrainingError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.cache.pairs import HELD_OUT, PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.methods import Shown
from dvs_transfer.stages.training.methods.mixture import Mixture
from dvs_transfer.stages.training.methods.transfer import Transfer

import naive

CAMERA = {"sensor_width": 48, "sensor_height": 36, "on_threshold": 0.45, "noise_rate_hz": 0.0}
RECORDED = {
    "images": {"recorded": CAMERA},
    "train": {"encoding": "recorded", "select": "last", "deterministic": True},
}
PHOTOS = Path("data", "raw", "images", "101_ObjectCategories")


def make(root: Path, **sections: Any) -> Path:
    root.mkdir()
    write_config(root, RAW, RECORDED, **sections)
    write_raw_data(root / "data" / "raw")
    return root


def set_options(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make(tmp_path_factory.mktemp("recorded") / "root")
    succeed(*preprocess(root))
    return root


@pytest.fixture(scope="module")
def pairs(workspace: Path) -> Path:
    return next((workspace / "data" / "cache").glob("ncaltech101+caltech101-*.zarr"))


@pytest.fixture(scope="module")
def expected(workspace: Path) -> dict[str, NDArray[np.float32]]:
    """Frames (T, 2, S, S) of each photo by its id: by the command, the naive reading of its files, and naive frames."""
    out = workspace / "by command"
    succeed("--quiet", "simulate", workspace / PHOTOS, out, *set_options(*(f"{k}={v}" for k, v in CAMERA.items())))
    num_bins, size = TINY["frames"]["num_bins"], TINY["frames"]["size"]
    frames = {}
    for path in (out / "Caltech101").glob("*/*.bin"):
        events = naive.decode_records(path.read_bytes())
        box = naive.bounding_box(events)
        counts, _ = naive.count(events, "time", num_bins, None, box, box[:1:-1])
        resized = [[naive.bilinear(image, size) for image in step] for step in counts]
        frames[f"{path.parent.name}/{path.stem}"] = np.array(resized, np.float32)
    assert len(frames) == 14
    return frames


def test_the_third_store_has_the_photos_recordings_row_for_row(
    pairs: Path, expected: dict[str, NDArray[np.float32]]
) -> None:
    store = PairStore(pairs)
    assert store.images is not None
    assert store.recorded is not None
    assert store.recorded.kind == "events"
    assert store.recorded.sample_id.tolist() == store.images.sample_id.tolist()
    assert store.recorded.label.tolist() == store.images.label.tolist()
    for sample_id, frames in zip(store.recorded.sample_id, store.recorded.read("frames"), strict=True):
        np.testing.assert_allclose(frames.astype(np.float32), expected[sample_id], rtol=2**-10, atol=1e-3)


@pytest.mark.parametrize("method", ["mixture", "transfer"])
def test_a_step_shows_the_recordings_of_the_photos_that_it_draws(
    method: str,
    workspace: Path,
    pairs: Path,
    expected: dict[str, NDArray[np.float32]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[torch.Tensor] = []
    original = {"mixture": Mixture, "transfer": Transfer}[method].loss

    def loss(self: Any, network: Any, batch: Shown) -> Any:
        shown.append(batch.photos())
        return original(self, network, batch)

    monkeypatch.setattr({"mixture": Mixture, "transfer": Transfer}[method], "loss", loss)
    succeed(*train_command(workspace, tmp_path / "run", "--set", f"train.method={method}"))
    split = PairedCache.open(pairs)
    config = TrainConfig(**TINY["train"])  # of another encoding: it draws the same photos
    drawn = [rows for epoch in range(config.epochs) for rows in Sampler(split, config).plan(epoch).images.numpy()]
    assert len(shown) == len(drawn) > 0
    held_out = {name for part in HELD_OUT for name in PairedCache.open(pairs, part).sample_ids}
    assert len(held_out) == 4
    for frames, rows in zip(shown, drawn, strict=True):
        ids = [split.image_ids[row] for row in rows]
        assert not held_out & set(ids)
        assert frames.dtype == torch.float32
        wanted = np.stack([expected[name] for name in ids], axis=1)
        np.testing.assert_allclose(frames.numpy(), wanted, rtol=2**-10, atol=1e-3)


def test_every_placement_gives_the_same_weights(workspace: Path, tmp_path: Path) -> None:
    weights = set()
    for placement in ("device", "pinned", "streamed"):
        run = tmp_path / placement
        options = set_options(f"train.data_placement={placement}", "train.heads=1")
        assert succeed(*train_command(workspace, run, *options, "--json")).document["data_placement"] == placement
        weights.add((run / "checkpoints" / "last.safetensors").read_bytes())
    assert len(weights) == 1


@pytest.mark.parametrize("method", ["finetune", "timestep_mixup", "transfer"])
def test_methods_that_show_photos_learn_from_recordings_of_them(method: str, workspace: Path, tmp_path: Path) -> None:
    losses = {}
    for encoding in ("recorded", "saccade"):
        run = tmp_path / encoding
        options = set_options(f"train.method={method}", f"train.encoding={encoding}")
        succeed(*train_command(workspace, run, *options))
        losses[encoding] = [line["loss"] for line in metrics_of(run)]
    assert np.isfinite(losses["recorded"]).all()
    assert losses["recorded"] != losses["saccade"]


def test_distillation_says_why_it_does_not(workspace: Path, tmp_path: Path) -> None:
    says = ["train.method = distillation teaches its teacher the brightness of images"]
    refuse(*train_command(workspace, tmp_path / "run", "--set", "train.method=distillation"), code=1, says=says)


def test_the_chain_to_the_report(workspace: Path, pairs: Path, expected: dict[str, NDArray[np.float32]]) -> None:
    command = ["--quiet", "--root", workspace]
    trained = succeed(*command, "train", "--config", workspace / "tiny.toml", "--json").document
    assert trained["photos_in_reach"] == "none"
    run = Path(trained["run"])
    assert succeed(*command, "evaluate", run, "--json").document["num_samples"] == 2
    succeed(*command, "analyse", "grad-cam", run, "--num-recordings", "2")
    with np.load(run / "analysis" / "grad-cam.npz") as arrays:
        frames = arrays["photo_frames"]
    analysed = json.loads((run / "analysis" / "grad-cam.json").read_text())
    split = PairedCache.open(pairs, analysed["split"])
    positions = [split.sample_ids.index(name) for name in analysed["sample_ids"]]
    ids = split.read(np.array(positions))["image_id"]
    np.testing.assert_allclose(
        frames.astype(np.float32), np.stack([expected[name] for name in ids]), rtol=2**-9, atol=1e-3
    )
    succeed(*command, "report", run)
    page = (run / "report" / "report.html").read_text()
    assert PairStore(pairs).recorded.path.name.removesuffix(".zarr").rpartition("-")[2] in page  # type: ignore[union-attr]


def test_what_is_up_to_date_is_not_made_again(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    command = [*preprocess(root), "--json"]
    first, again = (succeed(*command).document for _ in range(2))
    assert (first["recorded"]["was_built"], again["recorded"]["was_built"]) == (True, False)
    assert again["pairs"] == first["pairs"]
    other = succeed(*command, "--set", "images.recorded.on_threshold=0.6").document
    assert not other["images"]["was_built"]
    assert other["recorded"]["was_built"]
    assert other["pairs"]["path"] != first["pairs"]["path"]
    assert other["pairs"]["split_digest"] == first["pairs"]["split_digest"]
    photo = root / PHOTOS / "ant" / "image_0001.jpg"
    photo.write_bytes((root / PHOTOS / "bee" / "image_0001.jpg").read_bytes())
    changed = succeed(*command).document
    assert changed["recorded"]["was_built"]
    assert changed["recorded"]["path"] != first["recorded"]["path"]


def test_the_cache_knows_that_the_third_store_is_used(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    made = succeed(*preprocess(root), "--json").document
    store = Path(made["recorded"]["path"])
    assert succeed("--quiet", "--root", root, "cache", "prune", "--unused").out == ""
    listed = succeed("--quiet", "--root", root, "cache", "ls", "--json").document
    assert {entry["name"]: entry["state"] for entry in listed}[store.name] == "events"
    succeed("--quiet", "--root", root, "audit", made["pairs"]["path"], "--out", root / "audit.png")
    damaged = store / "frames" / "c" / "1" / "0" / "0" / "0" / "0"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    verify = ["--quiet", "--root", root, "cache", "verify", store]
    outcome = run_command(*verify)
    assert (outcome.code, "DAMAGED" in outcome.out) == (1, True)
    succeed("--quiet", "--root", root, "cache", "repair", store)
    assert damaged.read_bytes() == whole
    succeed(*verify)


def test_a_photo_of_the_pool_needs_a_recording_and_another_does_not(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    made = succeed(*preprocess(root), "--json").document["pairs"]
    split = PairedCache.open(made["path"], "test")
    held_out, taught = split.sample_ids[0], PairedCache.open(made["path"]).image_ids[0]
    grey = Image.fromarray(np.full((90, 120, 3), 128, np.uint8))
    before = (root / PHOTOS / f"{held_out}.jpg").read_bytes()
    grey.save(root / PHOTOS / f"{held_out}.jpg")
    report = succeed(*preprocess(root), "--json").document
    assert list(report["recorded"]["quarantined"]) == [held_out]
    assert report["pairs"]["num_pool"] == made["num_pool"]
    with pytest.raises(StoreError, match=rf"{held_out} has no recording: .*nothing in it moves a pixel"):
        PairedCache.open(report["pairs"]["path"], "test").read_recorded(np.array([0]))
    (root / PHOTOS / f"{held_out}.jpg").write_bytes(before)
    grey.save(root / PHOTOS / f"{taught}.jpg")
    says = [
        f"1 of the {made['num_pool']} images in the static pool have no recording, the first is {taught}",
        "nothing in it moves a pixel by its threshold",
        "[images.recorded]",
    ]
    refuse(*preprocess(root), code=1, says=says)
    succeed(*preprocess(root), *set_options("images.recorded.noise_rate_hz=5"))


def test_a_camera_is_needed(tmp_path: Path, workspace: Path) -> None:
    """Told by the configuration and, of stores without recordings of their photos, before training."""
    root = tmp_path / "root"
    root.mkdir()
    plain = write_config(root, RAW, train={"encoding": "recorded"})
    says = ["train.encoding = recorded shows recordings of the images", "section [images.recorded]"]
    refuse("--root", root, "preprocess", "--config", plain, code=2, says=says)
    write_raw_data(root / "data" / "raw")
    made = succeed(*preprocess(root), "--set", "train.encoding=value", "--json").document
    assert made["recorded"] is None
    config = TrainConfig(**TINY["train"], encoding="recorded")

    def open_split(name: Any) -> PairedCache:
        return PairedCache.open(made["pairs"]["path"], name)

    with pytest.raises(TrainingError, match=r"these data have none: say by which, in a section \[images.recorded\]"):
        loop.run(ModelConfig(**TINY["model"]), config, open_split, tmp_path / "run")
    with pytest.raises(StoreError, match=r"without recordings of its images; set a section \[images.recorded\]"):
        open_split("train").load_recorded()


def test_without_a_camera_nothing_is_another(tmp_path: Path, pairs: Path) -> None:
    """The pair store does not even say that there could be one; `test_version_before` holds identities."""
    root = make(tmp_path / "root")
    write_config(root, RAW)
    made = succeed(*preprocess(root), "--json").document
    plain, recorded = (FrameStore(path).attributes for path in (made["pairs"]["path"], pairs))
    assert recorded.config.keys() - plain.config.keys() == {"recorded"}
    assert {key: recorded.config[key] for key in plain.config} == plain.config
    note = json.loads(next((root / "data" / "cache" / "recipes").iterdir()).read_text())
    assert "recorded" not in note["config"]["images"]
