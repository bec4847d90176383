from __future__ import annotations

import os
import random
import runpy
import signal
import sys

import numpy as np
import pytest
import torch
from tiny_run import CONFIG, changed, metrics, train, weights

from dvs_transfer import cli
from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.cache.locks import writer_lock
from dvs_transfer.pipeline import results
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.runs.checkpoint import read_info, weights_path
from dvs_transfer.stages.runs.state import random_state, set_random_state
from dvs_transfer.stages.training import keeping, loop
from dvs_transfer.stages.training.config import AugmentationConfig
from dvs_transfer.stages.training.stopping import TrainingStoppedError
from dvs_transfer.stages.training.validation import Validation

EVERY_STEP = changed(checkpoint_steps=1)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def one_go(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_go")
    train(folder)
    return folder


def assert_same_result(folder, one_go):
    assert metrics(folder) == metrics(one_go)
    for name in ("best", "last"):
        assert weights(folder, name) == weights(one_go, name)
    assert not list(folder.rglob("*.tmp"))


def kill_at(epoch, step):
    def kill(progress):
        if (progress.epoch, progress.step) == (epoch, step):
            raise KilledError

    return kill


def killed(folder, epoch=2, step=2, config=EVERY_STEP):
    with pytest.raises(KilledError):
        train(folder, config, on_progress=kill_at(epoch, step))


def states(folder):
    return sorted(path.stem for path in (folder / "checkpoints").glob("state-*.json"))


# Progress is told before the checkpoint of the same step is written, and after an epoch's.
@pytest.mark.parametrize(
    ("config", "at", "resumed"),
    [
        (CONFIG, (1, 2), (0, 0)),
        (CONFIG, (2, 2), (1, 0)),
        (CONFIG, (2, 3), (2, 0)),
        (EVERY_STEP, (1, 2), (0, 1)),
        (EVERY_STEP, (3, 2), (2, 1)),
        (EVERY_STEP, (3, 3), (3, 0)),
        (changed(checkpoint_minutes=1e-9), (2, 2), (1, 1)),
    ],
)
def test_interrupted_and_resumed_equals_one_go_bit_for_bit(tmp_path, one_go, config, at, resumed):
    killed(tmp_path, *at, config)
    report = train(tmp_path, changed(log_interval=1))
    assert (report.resumed_after, report.resumed_steps) == resumed
    assert_same_result(tmp_path, one_go)


def test_what_is_drawn_on_the_device_is_drawn_again_after_a_kill(tmp_path):
    config = changed(EVERY_STEP, augmentation=AugmentationConfig(nda=1, event_drop=True, time_shift=1))
    train(tmp_path / "one go", config)
    killed(tmp_path / "two", 2, 2, config)
    assert train(tmp_path / "two", config).resumed_steps == 1
    assert_same_result(tmp_path / "two", tmp_path / "one go")


@pytest.mark.parametrize("method", ["transfer", "events"])
@pytest.mark.parametrize("epoch", [2, 3])
def test_recordings_without_labels_are_the_same_after_a_kill(tmp_path, method, epoch):
    """The first step with them is the second of epoch 2."""
    unlabelled = {"adapt": True, "consistency_weight": 1, "threshold": 0.3, "start": 4 / 9, "ratio": 2}
    config = changed(EVERY_STEP, method=method, unlabelled=unlabelled)
    train(tmp_path / "one go", config)
    killed(tmp_path / "two", epoch, 2, config)
    report = train(tmp_path / "two", config)
    assert (report.resumed_after, report.resumed_steps) == (epoch - 1, 1)
    assert_same_result(tmp_path / "two", tmp_path / "one go")


@pytest.mark.parametrize("changes", [{}, {"method": "finetune"}, {"unlabelled": {"adapt": True}}])
@pytest.mark.parametrize(("at", "resumed"), [((3, 2), (2, 1)), ((2, 3), (2, 0))])
def test_the_moving_average_is_the_same_after_a_kill(tmp_path, changes, at, resumed):
    config = changed(EVERY_STEP, average=0.5, **changes)
    train(tmp_path / "one go", config)
    killed(tmp_path / "two", *at, config)
    report = train(tmp_path / "two", config)
    assert (report.resumed_after, report.resumed_steps) == resumed
    assert_same_result(tmp_path / "two", tmp_path / "one go")
    newest = [folder / "checkpoints" / f"{states(folder)[-1]}.rest" for folder in tmp_path.iterdir()]
    first, second = (packing.from_bytes(path.read_bytes())["state"]["average"] for path in newest)
    assert first
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_leave(tmp_path, one_go, number, code):
    def send(progress):
        if (progress.epoch, progress.step) == (2, 2):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(TrainingStoppedError, match=r"the state is saved .*the same command goes on") as stopped:
        train(tmp_path, on_progress=send)
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before
    said = []
    report = train(tmp_path, on_message=said.append)
    assert (report.resumed_after, report.resumed_steps) == (1, 2)
    assert "goes on after 1 epochs and 2 steps of 3 epochs" in said[0]
    assert_same_result(tmp_path, one_go)


def test_exit_code_of_the_command(monkeypatch, tmp_path, capsys):
    def stop(*arguments):
        raise TrainingStoppedError(tmp_path, signal.SIGTERM)

    monkeypatch.setattr(results, "report", stop)
    assert cli.main(["report", str(tmp_path)]) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_the_newest_are_kept(tmp_path):
    train(tmp_path, changed(keep_checkpoints=3, checkpoint_steps=2))
    assert states(tmp_path) == ["state-000002-00000000", "state-000002-00000002", "state-000003-00000000"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3 * 3 + 2


def test_restart_deletes_the_run_alone_and_says_so(tmp_path, one_go):
    train(tmp_path, changed(seed=7))
    for name in ("evaluation-test.json", "notes.txt"):
        (tmp_path / name).write_text("{}")
    said = []
    report = train(tmp_path, restart=True, on_message=said.append)
    assert report.resumed_after == 0
    assert said == [f"{tmp_path}: starts anew; its checkpoints, metrics and evaluations are deleted"]
    assert (tmp_path / "notes.txt").exists()
    assert not (tmp_path / "evaluation-test.json").exists()
    assert_same_result(tmp_path, one_go)


def test_one_process_trains_in_a_folder(tmp_path):
    with (
        writer_lock(tmp_path, "train"),
        pytest.raises(TrainingError, match="another process is training in this folder"),
    ):
        train(tmp_path)
    assert train(tmp_path).resumed_after == 0


def test_every_generator_is_kept():
    kept = packing.to_bytes(random_state())
    drawn = random.random(), np.random.random(), float(torch.rand(1))  # noqa: NPY002
    set_random_state(packing.from_bytes(kept))
    assert (random.random(), np.random.random(), float(torch.rand(1))) == drawn  # noqa: NPY002


def test_a_weight_alone_that_is_not_finite_is_never_saved(tmp_path, monkeypatch):
    true_rate = loop.learning_rate
    monkeypatch.setattr(
        loop, "learning_rate", lambda config, epoch, phase: float("inf") if epoch else true_rate(config, epoch, phase)
    )
    with pytest.raises(TrainingError, match=r"a weight is not finite in step 1 of epoch 2; .*state-000001-00000000"):
        train(tmp_path, EVERY_STEP)
    assert states(tmp_path)[-1] == "state-000001-00000000"


def test_the_module_leaves_with_the_exit_code_of_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["dvs-transfer", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("dvs_transfer", run_name="__main__")
    assert left.value.code == 1


def test_best_weights_of_an_epoch_that_was_lost_are_told_as_what_they_are(tmp_path, monkeypatch):
    """Where the repeated epoch comes out otherwise, as on other hardware, `best` still holds the first one's."""
    accuracies = iter((0.6, 0.7, 0.5, 0.4))
    monkeypatch.setattr(Validation, "measure", lambda *_: (next(accuracies), {}))
    save = keeping.Keeper.save_state

    def fail(kept, *arguments):
        if kept.best_accuracy == 0.7:
            raise KilledError
        save(kept, *arguments)

    with monkeypatch.context() as here:
        here.setattr(keeping.Keeper, "save_state", fail)
        with pytest.raises(KilledError):
            train(tmp_path)
    report = train(tmp_path)
    assert (report.best_epoch, report.best_accuracy) == (2, 0.7)
    info = read_info(weights_path(tmp_path, "best"))
    assert (info.epoch, info.accuracy) == (2, 0.7)
