from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.layers import Neurons
from dvs_transfer.stages.network.networks import build_network, num_parameters
from dvs_transfer.stages.runs.released import released_weights
from dvs_transfer.stages.training.config import LossConfig
from dvs_transfer.stages.training.losses import transfer_loss

GOLDEN = {"vgg_snn": 101, "resnet18": 20, "scnn": 1623}  # classes


def reference_weights(name: str, trace) -> dict[str, torch.Tensor]:
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
        weights[key] = torch.from_numpy(z)
    return released_weights(name, weights)


@dataclass
class Golden:
    """A network in float64 with the golden weights, its two inputs (T, B, 2, H, W), and the released code's numbers."""

    name: str
    trace: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        num_steps, size = self.trace["events"].shape[1], self.trace["events"].shape[-1]
        config = ModelConfig(name=self.name, running_statistics="shared")
        self.network = build_network(
            config, num_classes=GOLDEN[self.name], num_steps=num_steps, size=size, seed=0
        ).double()
        self.network.load_state_dict(reference_weights(self.name, self.trace))
        self.events = torch.from_numpy(self.trace["events"]).double().transpose(0, 1)
        self.static = torch.from_numpy(self.trace["static"])[None, :, None].expand_as(self.events)


@pytest.fixture(params=GOLDEN)
def golden_network(request, repository: Path) -> Golden:
    path = repository.parent / "shared" / "golden" / f"{request.param}.npz"
    if not path.is_file():
        pytest.skip(f"needs the released code's numbers in {path}")
    with np.load(path) as file:
        return Golden(request.param, dict(file))


def assert_close(found, expected, name: str) -> None:
    found, expected = found.detach(), torch.as_tensor(expected)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= 1e-9, f"{name}: relative error {error:.2e}"


@pytest.mark.usefixtures("cpu_implementation")
def test_inference_golden(golden_network):
    network, trace = golden_network.network.eval(), golden_network.trace
    with torch.no_grad():
        for domain, frames in (("static", golden_network.static), ("event", golden_network.events)):
            logits, features = network.with_features(frames, domain)
            assert_close(logits, trace[f"eval_{domain}_logits"], f"{domain} logits")
            stored = torch.from_numpy(trace[f"eval_{domain}_features"])  # float32
            torch.testing.assert_close(features.float(), stored, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("cpu_implementation")
def test_training_golden(golden_network):
    network, trace = golden_network.network.train(), golden_network.trace
    static_logits, static_features = network.with_features(golden_network.static, "static")
    event_logits, event_features = network.with_features(golden_network.events, "event")
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
        step = key.removeprefix("coefficient.")
        (ours,) = released_weights(golden_network.name, {key: torch.zeros(1)})
        if kind == "buffer_after":
            assert_close(buffers[ours], expected, name)
        elif kind in ("gradnorm", "grad"):
            gradient = gradients[ours] if step == key else gradients[ours][int(step)].view(1)
            assert_close(gradient if kind == "grad" else gradient.norm(), expected, name)


@pytest.mark.parametrize(
    ("name", "num_classes", "num_steps", "expected"),
    [("vgg_snn", 101, 10, 10_153_700), ("resnet18", 20, 6, 11_187_924)],
)
def test_parameters_of_the_full_networks(name, num_classes, num_steps, expected):
    """The published counts include threshold and alpha of each layer of neurons, constants here."""
    with torch.device("meta"):
        network = build_network(ModelConfig(name=name), num_classes=num_classes, num_steps=num_steps, size=48, seed=0)
    num_neuron_layers = sum(isinstance(module, Neurons) for module in network.modules())
    assert num_parameters(network) + 2 * num_neuron_layers == expected


def released_deviation(name: str, key: str, weight: torch.Tensor) -> float:
    """Standard deviation of the initial weights that the released constructors draw."""
    fan_in, fan_out = weight[0].numel(), weight.numel() // weight.shape[1]
    if name == "resnet18" and weight.ndim == 4:  # kaiming_normal_(mode="fan_out", nonlinearity="relu")
        return math.sqrt(2 / fan_out)
    if name == "scnn":  # kaiming_normal_; uniform_(-0.1, 0.1)
        return math.sqrt(2 / fan_in) if weight.ndim == 4 else 0.1 / math.sqrt(3)
    return 1 / math.sqrt(3 * fan_in)  # torch's own: uniform within 1 / sqrt(fan in)


@pytest.mark.parametrize("name", GOLDEN)
def test_initial_weights_are_those_of_the_released_constructors(name):
    size = 28 if name == "scnn" else 48
    network = build_network(ModelConfig(name=name), num_classes=GOLDEN[name], num_steps=3, size=size, seed=1)
    weights = {key: parameter for key, parameter in network.named_parameters() if parameter.ndim > 1}
    for key, weight in weights.items():
        expected = released_deviation(name, key, weight)
        assert weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(weight.numel())), key
        assert abs(weight.mean().item()) < 4 * expected / math.sqrt(weight.numel()), key
    if name == "resnet18":
        convolutions = [weight for key, weight in weights.items() if "stem" in key or "blocks.7.second" in key]
        first, last = (weight.std().item() for weight in convolutions)
        assert (first, last) == (pytest.approx(0.059, abs=0.004), pytest.approx(0.0208, abs=0.0001))
    for key, parameter in network.named_parameters():
        if "norm" in key:
            assert torch.equal(parameter, torch.full_like(parameter, float(key.endswith("weight"))))
    assert network.coefficients.tolist() == [1, 1, 1]


def test_same_seed_same_weights_and_torchs_generator_is_left_alone():
    state = torch.get_rng_state()
    first, again, other = (
        build_network(ModelConfig(name="vgg_snn_small"), num_classes=4, num_steps=3, size=16, seed=seed).state_dict()
        for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["event_head.weight"], other["event_head.weight"])
    assert torch.equal(torch.get_rng_state(), state)


SMALL = {
    "vgg_snn_small": (ModelConfig(name="vgg_snn_small"), 64 * 4 * 4),
    "resnet18": (ModelConfig(name="resnet18", widths=(4, 8, 8)), 8),
    "scnn": (ModelConfig(name="scnn", widths=(4, "P", 6, 20)), 20),
}


@pytest.mark.parametrize("name", SMALL)
def test_with_features_gives_the_same_logits(name):
    config, num_features = SMALL[name]
    network = build_network(config, num_classes=4, num_steps=3, size=32, seed=0).eval()
    frames = torch.rand(3, 2, 2, 32, 32)
    for domain in ("static", "event"):
        logits, features = network.with_features(frames, domain)
        assert torch.equal(logits, network(frames, domain))
        assert logits.shape == (3, 2, 4)
        assert features.shape == (3, 2, num_features)


@pytest.mark.parametrize(("name", "size"), [("vgg_snn", 8), ("scnn", 12)])
def test_frames_that_are_too_small_are_refused(name, size):
    with pytest.raises(TrainingError, match=f"pools of {name} leave nothing of a {size} x {size} frame"):
        build_network(ModelConfig(name=name), num_classes=4, num_steps=3, size=size, seed=0)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("vgg_snn", ()),
        ("vgg_snn", ("P",)),
        ("vgg_snn", (8, 0)),
        ("vgg_snn", (8, "Q")),
        ("resnet18", (8, "P")),
        ("scnn", (8, "P")),
    ],
)
def test_impossible_widths_are_refused(name, widths):
    with pytest.raises(ValueError, match="widths"):
        ModelConfig(name=name, widths=widths)
