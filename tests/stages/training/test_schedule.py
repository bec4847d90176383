from __future__ import annotations

import pytest

from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.schedule import learning_rate
from dvs_transfer.stages.training.sliding import Constant, LinearInEpochs, Power, Step, sliding_strategy

# CosineLRScheduler(t_initial=300, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6), peak 5e-3 * 120 / 1024
METHOD_RATES = {
    0: 1e-6,
    1: 1.179875e-4,
    2: 2.34975e-4,
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


def test_no_warmup_starts_at_the_peak():
    config = TrainConfig(warmup_epochs=0, batch_size=1024)
    assert learning_rate(config, 0) == pytest.approx(5e-3)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Power(3), [0, 1 / 64, 1 / 8, 27 / 64]),
        (Power(1), [0, 0.25, 0.5, 0.75]),
        (LinearInEpochs(2), [0, 0, 0.5, 0.5]),
        (Step(), [0, 0, 1, 1]),
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
        ("step", Step()),
        ("static", Constant(0.0)),
        ("events", Constant(1.0)),
    ],
)
def test_sliding_strategy_by_name(name, expected):
    assert sliding_strategy(TrainConfig(sliding=name, sliding_exponent=2, epochs=7)) == expected
