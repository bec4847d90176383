"""The released combinations, the fine-tuning baseline, and strategies of one's own, in whole runs."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tiny_run import CONFIG, changed, metrics, train, weights
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation import evaluate
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.training import loop, validation
from dvs_transfer.stages.training.config import RELEASED, LossConfig, TrainConfig
from dvs_transfer.stages.training.methods.transfer import Transfer
from dvs_transfer.stages.training.sliding import STRATEGIES


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("method", {"select": "test_as_released"}),
        ("without_sliding", {"select": "test_as_released", "sliding": "step", "loss": LossConfig(alignment_weight=0)}),
        ("without_v", {"select": "test_as_released", "encoding": "blue"}),
    ],
)
def test_released_combinations(name, settings):
    """What the table of deviations in the method's description says of them, and no more."""
    released = TrainConfig(released=name)
    assert released == TrainConfig(**settings).model_copy(update={"released": name})
    assert TrainConfig.model_validate(released.model_dump()) == released


def test_every_released_combination_can_be_named_and_takes_other_settings():
    for name in RELEASED:
        config = TrainConfig(released=name, epochs=7, loss={"tet": False})
        assert (config.epochs, config.loss.tet, config.select) == (7, False, "test_as_released")
    with pytest.raises(ValidationError, match="released"):
        TrainConfig(released="without_events")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"released": "without_v", "encoding": "value"}, "without_v sets encoding to 'blue', not 'value'"),
        ({"released": "without_sliding", "loss": {"alignment_weight": 0.5}}, r"sets loss\.alignment_weight to 0\.0"),
        ({"released": "method", "select": "last"}, "method sets select to 'test_as_released', not 'last'"),
    ],
)
def test_what_contradicts_a_released_combination_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize("method", ["transfer", "events", "finetune", "mixture", "timestep_mixup", "distillation"])
@pytest.mark.parametrize(("name", "widths"), [("resnet18", (4, 8)), ("scnn", (4, "P", 6, "P", 20))])
def test_every_network_trains_by_every_method(tmp_path, name, widths, method):
    model, config = ModelConfig(name=name, widths=widths), changed(method=method, epochs=2)
    report = loop.run(model, config, open_tiny_split, tmp_path)
    lines = metrics(tmp_path)
    assert len(lines[0]["firing_rates"]) == {"resnet18": 9, "scnn": 3}[name]
    evaluated = evaluate.run(EvaluateConfig(split="validation", checkpoint="last"), open_tiny_split, tmp_path)
    assert evaluated.top1 == pytest.approx(report.last_accuracy)


@pytest.mark.parametrize("method", ["timestep_mixup", "distillation"])
def test_bfloat16_is_that_of_the_network_alone(tmp_path, method):
    losses = {}
    for precision in ("float32", "bfloat16"):
        train(tmp_path / precision, changed(method=method, precision=precision, epochs=1))
        losses[precision] = metrics(tmp_path / precision)[0]["loss"]
    assert losses["float32"] != losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
    kept = sorted((tmp_path / "bfloat16" / "checkpoints").glob("state-*.rest"))[-1]
    auxiliary = packing.from_bytes(kept.read_bytes())["state"]["auxiliary"]
    assert {value.dtype for value in auxiliary.values() if value.is_floating_point()} == {torch.float32}


class KilledError(Exception):
    pass


class LateHalf:
    """A strategy that no part of the project knows."""

    def __call__(self, progress: float) -> float:
        return max(0.0, 2 * progress - 1)


def test_a_new_strategy_needs_no_change_in_the_loop(tmp_path, monkeypatch):
    monkeypatch.setitem(STRATEGIES, "late_half", lambda config: LateHalf())
    train(tmp_path, CONFIG.model_copy(update={"sliding": "late_half", "epochs": 4}))
    # the last of three steps of each of four epochs
    expected = [max(0.0, 2 * (3 * epoch + 2) / 12 - 1) for epoch in range(4)]
    assert [line["sliding_probability"] for line in metrics(tmp_path)] == pytest.approx(expected)


def test_fine_tuning_learns_from_images_then_from_recordings(tmp_path):
    seen = []
    config = changed(method="finetune", epochs=12, pretrain_epochs=4)
    report = train(tmp_path, config, on_progress=seen.append)
    assert report.num_images == 24
    assert report.best_accuracy > 0.9
    lines = metrics(tmp_path)
    assert [line["sliding_probability"] for line in lines] == [0] * 4 + [1] * 8
    assert lines[4]["learning_rate"] == config.warmup_learning_rate
    assert all(line["loss_alignment"] == 0 for line in lines)
    assert all(line["loss_static"] > 0 == line["loss_event"] for line in lines[:4])
    assert all(line["loss_event"] > 0 == line["loss_static"] for line in lines[4:])


def test_no_epoch_of_images_alone_is_chosen(tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.2, 0.3, 0.1])
    monkeypatch.setattr(validation, "accuracy", lambda *arguments: next(accuracies))
    report = train(tmp_path, changed(method="finetune", epochs=5, pretrain_epochs=2))
    assert (report.best_epoch, report.best_accuracy) == (4, 0.3)


def test_fine_tuning_starts_its_second_phase_with_a_new_optimiser(tmp_path):
    train(tmp_path, changed(method="finetune", epochs=4, pretrain_epochs=3))
    newest = sorted((tmp_path / "checkpoints").glob("state-*.rest"))[-1]
    moments = packing.from_bytes(newest.read_bytes())["state"]["optimizer"]["state"]
    assert {int(moment["step"]) for moment in moments.values()} == {3}  # of the last epoch alone


@pytest.mark.parametrize("phases", [(range(1),), (range(2), range(3, 4)), (range(2, 4), range(2))])
def test_phases_that_leave_epochs_out_are_refused(tmp_path, monkeypatch, phases):
    monkeypatch.setattr(Transfer, "phases", lambda method: phases)
    with pytest.raises(TrainingError, match=r"expected phases\(\) to cover the epochs 0 to 3"):
        train(tmp_path, changed(epochs=4))


@pytest.mark.parametrize("kill_at", [(1, 3), (2, 2), (2, 3), (3, 2)])
def test_fine_tuning_killed_and_resumed_equals_one_go(tmp_path, kill_at):
    def kill(progress):
        if (progress.epoch, progress.step) == kill_at:
            raise KilledError

    config = changed(method="finetune", epochs=4, checkpoint_steps=1, log_interval=1)
    train(tmp_path / "one_go", config)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", config, on_progress=kill)
    train(tmp_path / "killed", config)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "one_go")
    assert weights(tmp_path / "killed") == weights(tmp_path / "one_go")


@pytest.mark.parametrize("epochs", [{"epochs": 1}, {"epochs": 3, "pretrain_epochs": 3}])
def test_fine_tuning_needs_both_phases(epochs):
    with pytest.raises(ValidationError, match="finetune needs epochs on images and on recordings"):
        TrainConfig(method="finetune", **epochs)
