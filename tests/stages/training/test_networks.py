from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.training.config import LossConfig, ModelConfig
from dvs_transfer.stages.training.losses import transfer_loss
from dvs_transfer.stages.training.networks import SpikingVGG, build_network, num_parameters


def our_key(reference_key: str) -> str:
    """The name here of a parameter or buffer of the released code."""
    for theirs, ours in (
        ("feature.", "backbone."),
        (".bn.", ".norm."),
        ("rgb_fc.1", "static_head"),
        ("dvs_fc.1", "event_head"),
    ):
        reference_key = reference_key.replace(theirs, ours)
    return reference_key


def reference_weights(trace) -> dict[str, torch.Tensor]:
    """The weights that the golden values' README defines."""
    weights = {}
    for j, (key, shape) in enumerate(zip(trace["keys"].tolist(), trace["shapes"].tolist(), strict=True)):
        dimensions = tuple(int(n) for n in shape.strip("[]").split(","))
        z = np.random.RandomState(int(trace["seed"]) * 7 + 100 + j).standard_normal(dimensions)
        if "running" in key:
            z = trace[f"buffer/{key}"]
        elif z.ndim >= 2:
            z = z * 1.4 / np.sqrt(z[0].size)
        elif "coefficient" in key:
            z = 1 + 0.3 * z
        elif key.endswith("bias"):
            z = 0.1 * z + (0.2 if "bn" in key else 0)
        else:
            z = 1 + 0.1 * z
        weights[our_key(key)] = torch.from_numpy(z)
    num_steps = sum(key.startswith("coefficient.") for key in weights)
    weights["coefficients"] = torch.cat([weights.pop(f"coefficient.{t}") for t in range(num_steps)])
    return weights


@pytest.fixture(scope="module")
def trace(repository: Path) -> dict[str, np.ndarray]:
    path = repository.parent / "shared" / "golden" / "vgg_snn.npz"
    if not path.is_file():
        pytest.skip(f"needs the released code's numbers in {path}")
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def reference(trace):
    """The full network in float64 with the golden weights, and its two inputs (T, B, 2, H, W)."""
    num_steps, size = trace["events"].shape[1], trace["events"].shape[-1]
    network = build_network(ModelConfig(), num_classes=101, num_steps=num_steps, size=size, seed=0).double()
    network.load_state_dict(reference_weights(trace))
    events = torch.from_numpy(trace["events"]).double().transpose(0, 1)
    static = torch.from_numpy(trace["static"])[None, :, None].expand_as(events)
    return network, static, events


def assert_close(found, expected, name: str) -> None:
    found, expected = found.detach(), torch.as_tensor(expected)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= 1e-9, f"{name}: relative error {error:.2e}"


def test_inference_golden(trace, reference):
    network, static, events = reference
    network.eval()
    with torch.no_grad():
        for domain, frames in (("static", static), ("event", events)):
            logits, features = network.with_features(frames, domain)
            assert_close(logits, trace[f"eval_{domain}_logits"], f"{domain} logits")
            stored = torch.from_numpy(trace[f"eval_{domain}_features"])  # float32
            torch.testing.assert_close(features.float(), stored, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_training_golden(trace, reference):
    network, static, events = reference
    network.train()
    static_logits, static_features = network.with_features(static, "static")
    event_logits, event_features = network.with_features(events, "event")
    assert_close(static_logits, trace["train_static_logits"], "static logits")
    assert_close(event_logits, trace["train_event_logits"], "event logits")
    labels = torch.from_numpy(trace["labels"])
    loss = transfer_loss(
        static_features, event_features, static_logits, event_logits, labels, network.coefficients, LossConfig()
    )
    for name, part in (("domain", loss.alignment), ("static", loss.static), ("event", loss.event)):
        assert_close(part, trace[f"train_{name}"], name)
    assert_close(loss.total, trace["train_total"], "total")

    loss.total.backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    buffers = dict(network.named_buffers())
    for name, expected in trace.items():
        kind, _, key = name.partition("/")
        if kind == "buffer_after":
            assert_close(buffers[our_key(key)], expected, name)
        elif kind in ("gradnorm", "grad"):
            step = key.removeprefix("coefficient.")
            gradient = gradients[our_key(key)] if step == key else gradients["coefficients"][int(step)].view(1)
            assert_close(gradient if kind == "grad" else gradient.norm(), expected, name)


def test_parameters_of_the_full_network():
    """The published 10,153,700 count threshold and alpha of each of the 8 neuron layers, constants here."""
    with torch.device("meta"):
        network = SpikingVGG(ModelConfig(), num_classes=101, num_steps=10, size=48)
    assert num_parameters(network) + 2 * 8 == 10_153_700


def test_same_seed_same_weights_and_torchs_generator_is_left_alone():
    state = torch.get_rng_state()
    first, again, other = (
        build_network(ModelConfig(name="vgg_snn_small"), num_classes=4, num_steps=3, size=16, seed=seed).state_dict()
        for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["event_head.weight"], other["event_head.weight"])
    assert torch.equal(torch.get_rng_state(), state)


def test_with_features_gives_the_same_logits():
    network = build_network(ModelConfig(name="vgg_snn_small"), num_classes=4, num_steps=3, size=16, seed=0).eval()
    frames = torch.rand(3, 2, 2, 16, 16)
    logits, features = network.with_features(frames, "event")
    assert torch.equal(logits, network(frames, "event"))
    assert logits.shape == (3, 2, 4)
    assert features.shape == (3, 2, 64 * 2 * 2)


def test_too_many_pools_are_refused():
    with pytest.raises(TrainingError, match="4 pools leave nothing of a 8 x 8 frame"):
        SpikingVGG(ModelConfig(), num_classes=4, num_steps=3, size=8)


@pytest.mark.parametrize("widths", [(), ("P",), (8, 0), (8, "Q")])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="widths"):
        ModelConfig(widths=widths)
