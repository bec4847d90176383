from __future__ import annotations

import pytest
from pydantic import ValidationError

from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.methods import method_of
from dvs_transfer.stages.training.schedule import learning_rate
from dvs_transfer.stages.training.sliding import (
    STRATEGIES,
    Constant,
    LinearInEpochs,
    Power,
    Step,
    sliding_strategy,
)

# timm's CosineLRScheduler(t_initial=300, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6), peak 5e-3 * 120 / 1024
METHOD_RATES = {
    0: 1e-6,
    1: 1.179875e-4,
    2: 2.34975e-4,
    3: 3.519625e-4,
    4: 4.6895e-4,
    5: 5.8554285e-4,
    150: 2.979688e-4,
    299: 1.001578951e-5,
    300: 1e-5,
    310: 1e-5,
}


@pytest.mark.parametrize(("epoch", "expected"), METHOD_RATES.items())
def test_learning_rate_of_the_method(epoch, expected):
    assert learning_rate(TrainConfig(), epoch) == pytest.approx(expected, rel=1e-6)


# The same with t_initial=200, CEP-DVS
CEPDVS_RATES = {4: 4.6895e-4, 5: 5.8504979e-4, 50: 5.0159341e-4, 100: 2.9796875e-4, 199: 1.0035526e-5, 200: 1e-5}


@pytest.mark.parametrize(("epoch", "expected"), CEPDVS_RATES.items())
def test_learning_rate_of_cepdvs(epoch, expected):
    assert learning_rate(TrainConfig(epochs=200), epoch) == pytest.approx(expected, rel=1e-6)


# timm's StepLRScheduler(decay_t=40, decay_rate=0.1, warmup_t=5, warmup_lr_init=1e-6), peak 1.2 * 16 / 1024: N-Omniglot
STEP_RATES = {0: 1e-6, 1: 3.7508e-3, 4: 1.50002e-2, 5: 1.875e-2, 39: 1.875e-2, 40: 1.875e-3, 49: 1.875e-3}


@pytest.mark.parametrize(("epoch", "expected"), STEP_RATES.items())
def test_learning_rate_of_omniglot(epoch, expected):
    config = TrainConfig(epochs=50, batch_size=16, base_learning_rate=1.2, schedule="steps")
    assert learning_rate(config, epoch) == pytest.approx(expected, rel=1e-6)


def test_fine_tuning_runs_through_the_schedule_twice():
    config = TrainConfig(method="finetune", epochs=50, pretrain_epochs=20)
    for span, first, epochs in zip(method_of(config).phases(), (0, 20), (20, 30), strict=True):
        phase = TrainConfig(epochs=epochs)
        for epoch in range(epochs):
            assert learning_rate(config, first + epoch, span) == learning_rate(phase, epoch)


def test_no_warmup_starts_at_the_peak():
    config = TrainConfig(warmup_epochs=0, batch_size=1024)
    assert learning_rate(config, 0) == pytest.approx(5e-3)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Power(3), [0, 1 / 64, 1 / 8, 27 / 64]),
        (Power(1), [0, 0.25, 0.5, 0.75]),
        (LinearInEpochs(2), [0, 0, 0.5, 0.5]),
        (Step(num_epochs=4, first_epoch=2), [0, 0, 1, 1]),
        (Step(num_epochs=4, first_epoch=3), [0, 0, 0, 1]),
        (Constant(0), [0, 0, 0, 0]),
        (Constant(1), [1, 1, 1, 1]),
    ],
)
def test_sliding_probability(strategy, expected):
    assert [strategy(progress) for progress in (0, 0.25, 0.5, 0.75)] == expected


def test_linear_sliding_begins_each_epoch_on_its_own_value():
    num_epochs, num_steps = 300, 65
    strategy = LinearInEpochs(num_epochs)
    for epoch in range(num_epochs):
        for step in (0, num_steps - 1):
            progress = (step + epoch * num_steps) / (num_epochs * num_steps)
            assert strategy(progress) == epoch / num_epochs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("power", Power(2.0)),
        ("linear", LinearInEpochs(7)),
        ("step", Step(7, 4)),
        ("static", Constant(0.0)),
        ("events", Constant(1.0)),
    ],
)
def test_sliding_strategy_by_name(name, expected):
    assert sliding_strategy(TrainConfig(sliding=name, sliding_exponent=2, epochs=7)) == expected


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 4, 7, 300])
def test_step_is_the_released_code_without_sliding(num_epochs):
    """There: `P_Replacement = 0.0; if epoch > args.epochs / 2: P_Replacement = 1.0`."""
    strategy = sliding_strategy(TrainConfig(sliding="step", epochs=num_epochs))
    for epoch in range(num_epochs):
        for step in (0, 64):
            progress = (step + epoch * 65) / (num_epochs * 65)
            assert strategy(progress) == float(epoch > num_epochs / 2)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_can_be_named(name):
    assert TrainConfig(sliding=name).sliding == name


def test_a_name_that_leads_nowhere():
    with pytest.raises(ValidationError, match=r"'pover' is none of events, linear, power, static, step"):
        TrainConfig(sliding="pover")
    known = "distillation, events, finetune, mixture, timestep_mixup"
    with pytest.raises(ValidationError, match=f"'transfers' is none of {known}, transfer"):
        TrainConfig(method="transfers")


@pytest.mark.parametrize("num_steps", [1, 7, 65])
def test_fine_tuning_steps_to_recordings_where_its_second_phase_begins(num_steps):
    config = TrainConfig(method="finetune", epochs=300, pretrain_epochs=101)
    strategy = method_of(config).sliding()
    for epoch in range(300):
        for step in (0, num_steps - 1):
            assert strategy((step + epoch * num_steps) / (300 * num_steps)) == float(epoch >= 101)
