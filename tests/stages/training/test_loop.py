from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import changed, metrics, train, weights
from tiny_split import TinySplit, open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path
from dvs_transfer.stages.training import loop


@pytest.mark.parametrize("method", ["transfer", "events"])
def test_training_learns_and_writes_the_run_folder(tmp_path, method):
    seen = []
    report = train(tmp_path, changed(method=method, epochs=12), on_progress=seen.append)
    assert report.best_accuracy > 0.9
    assert report.selection_split == "validation"
    assert report.num_images == (24 if method == "transfer" else 0)
    left = {"checkpoints", "config.json", "metrics.jsonl", "stints.json"}
    assert {path.name for path in tmp_path.iterdir()} == left
    lines = metrics(tmp_path)
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert all(0 < rate < 1 for rate in lines[-1]["firing_rates"].values())
    assert (lines[-1]["w_t"] is None) == (method == "events")
    assert max(line["validation_accuracy"] for line in lines) == report.best_accuracy
    best = next(line["epoch"] for line in lines if line["validation_accuracy"] == report.best_accuracy)
    assert report.best_epoch == best  # the earlier of equals
    assert load_weights(weights_path(tmp_path, "best"), torch.device("cpu"))[1].epoch == best
    assert [(p.epoch, p.step) for p in seen[:3]] == [(1, 2), (1, 3), (2, 2)]


def test_recordings_without_their_own_photo_are_told_of(tmp_path):
    class Lonely(TinySplit):
        photo = np.where(np.arange(24) == 7, -1, np.arange(24))

    def opened(name):
        return Lonely() if name == "train" else open_tiny_split(name)

    messages = []
    train(tmp_path, changed(pairing="instance", epochs=1), opened, on_message=messages.append)
    assert "1 of 24 training recordings have no photo of their own" in messages[0]


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, changed(seed=seed, epochs=2))
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


def test_finished_run_is_left_as_it_is(tmp_path):
    first = train(tmp_path)
    before = weights(tmp_path), metrics(tmp_path)
    again = train(tmp_path)
    assert again.resumed_after == 3
    assert (again.best_epoch, again.last_accuracy) == (first.best_epoch, first.last_accuracy)
    assert (weights(tmp_path), metrics(tmp_path)) == before


@pytest.mark.parametrize("native", [False, True])
def test_bfloat16_where_it_is_slow_is_said_once(tmp_path, native, monkeypatch):
    monkeypatch.setattr(loop, "has_native_bfloat16", lambda device: native)
    messages = []
    train(tmp_path, changed(precision="bfloat16", epochs=2), on_message=messages.append)
    assert [m for m in messages if "bfloat16" in m] == ([] if native else messages[:1])
    assert native or "float32 is faster" in messages[0]


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2])
def test_a_warm_up_to_the_end_is_told(warmup_epochs, tmp_path):
    messages = []
    train(tmp_path, changed(warmup_epochs=warmup_epochs, epochs=2), on_message=messages.append)
    assert any("never reaches its peak" in message for message in messages) == (warmup_epochs == 2)


@pytest.mark.parametrize("pretrain_epochs", [1, 2])
def test_a_warm_up_to_the_end_of_a_phase_is_told(pretrain_epochs, tmp_path):
    messages = []
    config = changed(method="finetune", warmup_epochs=1, epochs=4, pretrain_epochs=pretrain_epochs)
    train(tmp_path, config, on_message=messages.append)
    said = [message for message in messages if "never reaches its peak" in message]
    assert bool(said) == (pretrain_epochs == 1)
    assert all("= 1 of 1 epochs that a part of the training has (finetune)" in message for message in said)


def test_other_settings_do_not_continue_a_run(tmp_path):
    train(tmp_path)
    with pytest.raises(TrainingError, match=r"train\.epochs is 3 there and 4 here; train\.seed is 42 there and 1 here"):
        train(tmp_path, changed(epochs=4, seed=1))
    with pytest.raises(TrainingError, match=r"cache\.split_digest is '0123456789ab' there and 'other' here"):
        train(tmp_path, open_split=lambda name: replace(open_tiny_split(name), split_digest="other"))


def test_nan_in_a_recording_stops_with_the_batch(tmp_path):
    class Broken(TinySplit):
        def load_events(self, indices):
            frames = super().load_events()
            frames[5, 0, 0, 8, 8] = np.nan
            return frames[indices]

    def open_split(name):
        return Broken() if name == "train" else open_tiny_split(name)

    with pytest.raises(TrainingError, match=r"step 1 of epoch 1; .*is kept: .*state-000000-00000000.*bee/train_0005"):
        train(tmp_path, changed(sampling="sequential"), open_split)
    assert not weights_path(tmp_path, "last").exists()


def test_nan_in_a_later_epoch_keeps_the_weights_of_the_one_before(tmp_path, monkeypatch):
    true_rate = loop.learning_rate
    monkeypatch.setattr(
        loop, "learning_rate", lambda config, epoch, phase: float("nan") if epoch else true_rate(config, epoch, phase)
    )
    with pytest.raises(TrainingError, match=r"step 2 of epoch 2; .*is kept: .*state-000001-00000000"):
        train(tmp_path)
    _, info = load_weights(weights_path(tmp_path, "last"), torch.device("cpu"))
    assert info.epoch == 1


def test_select_last_needs_no_validation_split(tmp_path):
    def no_validation(name):
        return replace(open_tiny_split(name), num_recordings=0) if name == "validation" else open_tiny_split(name)

    with pytest.raises(TrainingError, match="needs recordings in the validation split"):
        train(tmp_path / "best", open_split=no_validation)
    report = train(tmp_path / "last", changed(select="last"), no_validation)
    assert (report.best_epoch, report.last_accuracy, report.selection_split) == (3, None, None)
    assert weights(tmp_path / "last", "best") == weights(tmp_path / "last", "last")


def test_test_split_is_only_opened_when_asked(tmp_path):
    opened = []

    def open_split(name):
        opened.append(name)
        return open_tiny_split(name)

    train(tmp_path / "validation", changed(epochs=1), open_split)
    assert opened == ["train", "validation"]
    opened.clear()
    train(tmp_path / "released", changed(epochs=1, select="test_as_released"), open_split)
    assert opened == ["train", "test"]


def test_unknown_device(tmp_path):
    with pytest.raises(TrainingError, match="device 'cuda:99' is not there"):
        train(tmp_path, changed(device="cuda:99"))
    for device in ("tpu9", "mps"):
        with pytest.raises(ValueError, match="expected auto, cpu, cuda or cuda:N"):
            changed(device=device)
