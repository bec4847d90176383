"""Published checkpoints: read without executing anything, checked by name and shape, the released code's logits."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published import NUM_STEPS, published
from tiny_split import TinySplit

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation import evaluate
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.runs import released
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path

SPLIT = TinySplit("test", 8, num_bins=NUM_STEPS, size=28)


def save(folder: Path, content) -> Path:
    path = folder / "model_best.pth.tar"
    torch.save(content, path)
    return path


def import_into(folder: Path, content, split=SPLIT):
    return released.run(save(folder, content), split, folder / "run", folder / "pairs.zarr")


def test_a_published_checkpoint_becomes_a_run(tmp_path):
    content = published()
    report = import_into(tmp_path, content)
    assert (report.network, report.num_classes, report.num_steps, report.epoch) == ("scnn", 4, NUM_STEPS, 50)
    assert report.accuracy == pytest.approx(0.636)
    network, info = load_weights(weights_path(tmp_path / "run", "best"), torch.device("cpu"))
    assert (info.model.name, info.model.tau, info.method) == ("scnn", 3.0, "imported")
    assert info.model.threshold == pytest.approx(0.4)
    assert network.coefficients.tolist() == [0, 1, 2]
    assert torch.equal(network.event_head.weight, content["state_dict"]["fc2.weight"])
    evaluated = evaluate.run(EvaluateConfig(threads=1), lambda split: SPLIT, tmp_path / "run")
    assert (evaluated.photos_in_reach, evaluated.protocol) == ("unknown", "unknown")
    with pytest.raises(TrainingError, match=r"last\.safetensors: .* imported weights are one checkpoint"):
        evaluate.run(EvaluateConfig(checkpoint="last", threads=1), lambda split: SPLIT, tmp_path / "run")
    assert evaluated.at("last") is None  # an epoch that was chosen on test recordings is not called the last one


@dataclass(frozen=True)
class GoldenSplit(TinySplit):
    frames: np.ndarray | None = None

    def load_events(self, indices):
        return self.frames[indices]


def test_the_reference_checkpoint_gives_the_released_code_s_logits(tmp_path, repository):
    folder = repository.parent / "shared" / "golden"
    if not (folder / "reference_scnn.pth.tar").is_file():
        pytest.skip(f"needs the reference checkpoint in {folder}")
    with np.load(folder / "scnn.npz") as file:
        events, expected = file["events"], file["eval_event_logits"]
    names = tuple(f"{index:04d}" for index in range(expected.shape[2]))
    split = GoldenSplit("test", len(events), names, num_bins=12, size=28, frames=events.astype(np.float16))
    released.run(folder / "reference_scnn.pth.tar", split, tmp_path, tmp_path / "pairs.zarr")
    evaluate.run(EvaluateConfig(threads=1, batch_size=4), lambda name: split, tmp_path, tmp_path / "logits.npz")
    with np.load(tmp_path / "logits.npz") as file:
        logits, sample_ids = file["logits"], file["sample_id"]
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
    assert tuple(sample_ids) == split.sample_ids


@pytest.mark.parametrize("other", [argparse.Action, argparse.ArgumentParser])
def test_no_other_class_is_let_in(tmp_path, other):
    with pytest.raises(TrainingError, match="nothing in it was executed"):
        import_into(tmp_path, published(args=other))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_every_damaged_file_is_refused(tmp_path):
    path = save(tmp_path, published())
    whole = path.read_bytes()
    for content in (b"", b"\x80", b"PK\x03\x04", os.urandom(1000), whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"model_best\.pth\.tar: not a published checkpoint"):
            released.read_released(path)
    with pytest.raises(TrainingError, match="no such file"):
        released.read_released(tmp_path / "other")


def with_state(**changes):
    state = published()["state_dict"]
    for key, value in changes.items():
        state.pop(key)
        if value is not None:
            state[key] = value
    return published(state_dict=state)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], r"a mapping with state_dict, arch and args.*it is a list"),
        (published(state_dict=None), "expected state_dict to be a Mapping; found nothing"),
        (published(args={"tau": 2.0}), "expected args to be a Namespace; found dict"),
        (published(arch="Transfer_ResNet34"), "holds a 'Transfer_ResNet34'; expected one of Transfer_VGG_SNN"),
        (published(args=argparse.Namespace(node_type="PLIFNode")), "neurons are 'PLIFNode'"),
        (published(args=argparse.Namespace(num_classes=9, step=3)), "head has 4 classes, its args say 9"),
        (published(args=argparse.Namespace(tau=0.5)), "impossible neurons"),
        (with_state(**{"fc1.bias": None}), r"not those of Transfer_SCNN: missing: backbone\.4\.linear\.bias$"),
        (with_state(**{"fc1.bias": torch.ones(3)}), r"another shape: backbone\.4\.linear\.bias \(3,\) instead of"),
        (with_state(**{"fc1.bias": torch.full((300,), torch.nan)}), r"not finite: backbone\.4\.linear\.bias$"),
        (published(state_dict=published()["state_dict"] | {"fc9.bias": torch.ones(3)}), r"unknown: fc9\.bias$"),
        (published(state_dict=published()["state_dict"] | {"fc9.bias": 3}), r"else than tensors: fc9\.bias"),
        (with_state(**{"node1.threshold": torch.tensor(0.7)}), r"neurons differ, .*: node1\.threshold"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, content, message):
    with pytest.raises(TrainingError, match=message):
        import_into(tmp_path, content)
    assert not (tmp_path / "run").exists()


def test_other_data_and_a_folder_in_use_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="made for 4 classes, 3 time steps and 28 pixels; the pair store has 4"):
        import_into(tmp_path, published(), replace(SPLIT, num_bins=5))
    import_into(tmp_path, published())
    with pytest.raises(TrainingError, match="holds a run already"):
        import_into(tmp_path, published())


class _Own:
    pass


def test_what_cannot_be_read_is_told_without_advice_to_read_it_unsafely(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"\(it names [\w.]*_Own\)$") as told:
        import_into(tmp_path, {"state_dict": {}, "args": _Own()})
    assert "weights_only" not in str(told.value)
