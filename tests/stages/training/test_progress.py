from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from tiny_run import MODEL, changed, train

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.pipeline.progress import describe_parts, describe_speed, describe_training
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.network.prediction import firing_rates


def test_firing_rates_are_the_share_of_ones():
    network = build_network(MODEL, num_classes=4, num_steps=3, size=16, seed=0)
    with torch.no_grad():
        network.backbone[2].conv.weight *= 20
    frames = torch.randint(0, 4, (3, 5, 2, 16, 16)).float()
    rates = firing_rates(network, frames)
    assert network.training
    x, expected = frames, []
    with torch.inference_mode():
        network.eval()
        for layer in network.backbone:
            x = layer(x, "event")
            if hasattr(layer, "conv"):
                expected.append(float((x == 1).double().mean()))
    assert list(rates) == ["backbone.0", "backbone.2"]
    assert list(rates.values()) == pytest.approx(expected)
    assert all(0 < rate < 1 for rate in expected)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_progress_names_what_matters(tmp_path):
    seen = []
    train(tmp_path, changed(epochs=2), on_progress=seen.append)
    within, at_end = (
        "  ".join(describe(at) for describe in (describe_training, describe_speed, describe_parts)) for at in seen[:2]
    )
    for text in ("epoch 1/2", "static", "event", "align", "train", "w 0.73 to 0.73", "sliding", "samples/s", "ETA"):
        assert text in within
    assert "firing" not in within
    assert "firing" in at_end
    assert "val " in at_end
    assert [at.ends_epoch for at in seen] == [False, True, False, True]
    assert seen[0].loss == pytest.approx(
        seen[0].loss_static + seen[0].loss_event + 0.5 * seen[0].loss_alignment, rel=1e-6
    )
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left


def test_without_tensorboard_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'dvs-transfer\[tensorboard\]'"):
        train(tmp_path, changed(tensorboard=True))


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_every_number(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, changed(epochs=2, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"step/loss_static", "epoch/train_accuracy", "epoch/selection_accuracy", "w_t/2"} <= set(tags)
    assert {"firing_rates/backbone.0", "firing_rates/backbone.2"} <= set(tags)
    assert [event.step for event in events.Scalars("step/loss")] == [2, 5]
    assert [event.step for event in events.Scalars("epoch/loss")] == [3, 6]
