"""The step at which a photo gives way to its recording, and what reads it off the features, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load as load_tensors
from tiny_run import changed, metrics, train, weights
from tiny_split import open_tiny_split
from watched import stepped, watched_network

from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.training.losses import transfer_loss
from dvs_transfer.stages.training.methods import Shown, method_of
from dvs_transfer.stages.training.methods.timestep_mixup import replacement_probability
from dvs_transfer.stages.training.step import Learner, all_trained, decay_groups


def draw(purpose):
    return torch.Generator().manual_seed(sum(purpose.encode()))


def shown(num_steps=3, batch_size=8, record=None):
    """Photos lie in [0, 1], recordings from 2 on."""
    rng = torch.Generator().manual_seed(1)
    return Shown(
        events=2 + torch.rand(num_steps, batch_size, 2, 16, 16, generator=rng),
        labels=torch.arange(batch_size) % 4,
        images=torch.rand(batch_size, 1, 16, 16, generator=rng),
        draws=torch.zeros(batch_size),
        probability=0.0,
        record=record,
        generator=draw,
    )


@pytest.mark.parametrize(("ratio", "probability"), [(0.3, 0.066), (0.5, 0.131), (0.7, 0.237)])
def test_the_published_probabilities(ratio, probability):
    assert replacement_probability(ratio, 10) == pytest.approx(probability, abs=5e-4)


@pytest.mark.parametrize("num_steps", [1, 2, 6, 10, 30])
@pytest.mark.parametrize("ratio", [0.001, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999])
def test_the_probability_solves_the_published_equation(num_steps, ratio):
    p = replacement_probability(ratio, num_steps)
    q = 1 - p
    assert 0 < p < 1
    assert num_steps - q * (1 - q**num_steps) / p == pytest.approx(ratio * num_steps, abs=1e-8 * num_steps)


@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_the_share_of_recording_is_the_expected_one(ratio):
    given = shown(num_steps=10, batch_size=20_000)
    method = method_of(changed(method="timestep_mixup", options={"ratio": ratio}))
    recorded = method._recorded(given).numpy()
    rng = np.random.default_rng(0)
    first = rng.geometric(replacement_probability(ratio, 10), 20_000)  # 1, 2, ...; beyond 10: never
    simulated = np.maximum(0, 11 - first)
    assert (np.diff(recorded.astype(int), axis=0) >= 0).all()  # once a recording, for good
    assert recorded.mean() == pytest.approx(ratio, abs=0.01)
    assert simulated.mean() / 10 == pytest.approx(ratio, abs=0.01)
    counts = [np.bincount(values, minlength=11) / 20_000 for values in (recorded.sum(0), simulated)]
    np.testing.assert_allclose(*counts, atol=0.015)


@pytest.mark.parametrize("record", [None, lambda photos: -photos.expand(3, len(photos), 2, 16, 16)])
def test_a_sequence_begins_as_a_photo_and_ends_as_its_recording(record):
    given = shown(record=record)
    _, watched, _ = stepped(given, method="timestep_mixup")
    (mixed, domain, *_), (events, *_) = watched.calls
    assert domain == "static"
    assert torch.equal(events, given.events)
    p, draws = replacement_probability(0.5, 3), torch.rand(3, 8, generator=draw("mixup"))
    seen = set()
    for sample in range(8):
        is_recording = False
        for step in range(3):
            is_recording = is_recording or float(draws[step, sample]) < p
            photo = given.images[sample].expand(2, 16, 16)
            expected = given.events[step, sample] if is_recording else photo if record is None else -photo
            assert torch.equal(mixed[step, sample], expected)
        seen.add(is_recording)
    assert seen == {False, True}  # the draws of this test show both


@pytest.mark.parametrize("options", [{}, {"guidance_weight": 0.7, "perception_weight": 0}, {"perception_weight": 2.0}])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_loss(options, heads):
    given = shown()
    (loss, logits), watched, config = stepped(given, method="timestep_mixup", options=options, heads=heads)
    (mixed, domain, static_logits, static_features), (_, _, event_logits, event_features) = watched.calls
    assert domain == ("static" if heads == 2 else "event")
    assert torch.equal(logits, event_logits)
    of_transfer = transfer_loss(
        static_features,
        event_features,
        static_logits,
        event_logits,
        given.labels,
        watched.coefficients,
        config.loss,
    )
    assert loss[:3] == of_transfer[:3]

    x = static_features.detach().numpy().astype(np.float64)
    recorded = (mixed.amin((2, 3, 4)) >= 2).numpy()
    layers = {key: value.numpy().astype(np.float64) for key, value in watched.auxiliary.state_dict().items()}
    source = 1 / (1 + np.exp(-(x @ layers["source.weight"][0] + layers["source.bias"])))
    named = -np.log(np.where(recorded, source, 1 - source)).mean()
    share = 1 / (1 + np.exp(-(x.mean(0) @ layers["share.weight"][0] + layers["share.bias"])))
    estimated = ((share - recorded.sum(0) / 3) ** 2).mean()
    added = options.get("guidance_weight", 0.1) * named + options.get("perception_weight", 0.1) * estimated
    assert added > 0.01
    assert loss.total.item() == pytest.approx(of_transfer.total.item() + added, rel=1e-5)


def test_what_is_switched_off_needs_no_layers():
    off = {"guidance_weight": 0, "perception_weight": 0}
    (loss, _), watched, config = stepped(shown(), method="timestep_mixup", options=off)
    assert watched.auxiliary is None
    assert loss.total == loss.static + loss.event + config.loss.alignment_weight * loss.alignment


def test_the_layers_are_trained_and_their_gradients_averaged():
    config, split = changed(method="timestep_mixup"), open_tiny_split("train")
    watched = watched_network(config)
    network, layers = watched.network, watched.auxiliary

    class Doubled:
        count = 1

        def average_gradients(self, parameters, values):
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(2)
            return values[None]

    trained = all_trained(network, layers)
    optimizer = torch.optim.SGD(decay_groups(trained, 0.0), lr=0.1)
    learner = Learner(config, network, optimizer, Doubled(), auxiliary=layers)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    batch = next(load(split, torch.device("cpu"), "device", "value").batches(Sampler(split, config).plan(0)))
    record = learner.step(batch, 0.0)
    gradients = {key: parameter.grad for key, parameter in trained.named_parameters() if parameter.grad is not None}
    norm = np.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))
    assert float(record[4]) == pytest.approx(norm, rel=1e-5)
    assert {key for key in gradients if key.startswith("1.")} == {
        "1.source.weight",
        "1.source.bias",
        "1.share.weight",
        "1.share.bias",
    }
    for key, gradient in gradients.items():
        torch.testing.assert_close(trained.state_dict()[key], before[key] - 0.1 * gradient)
    learner.optimizer.zero_grad()
    again = Learner(config, network, optimizer, auxiliary=layers)
    with torch.no_grad():
        trained.load_state_dict(before)
    again.step(batch, 0.0)
    for key, parameter in trained.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(2 * parameter.grad, gradients[key])


class KilledError(Exception):
    pass


@pytest.mark.parametrize("encoding", ["value", "saccade"])
@pytest.mark.parametrize("at", [(1, 2), (2, 2), (3, 2)])
def test_killed_and_resumed_equals_one_go(tmp_path, encoding, at):
    def kill(progress):
        if (progress.epoch, progress.step) == at:
            raise KilledError

    config = changed(method="timestep_mixup", encoding=encoding, checkpoint_steps=1, log_interval=1)
    report = train(tmp_path / "one_go", config)
    assert report.photos_in_reach == "none"
    with pytest.raises(KilledError):
        train(tmp_path / "killed", config, on_progress=kill)
    train(tmp_path / "killed", config)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "one_go")
    assert weights(tmp_path / "killed") == weights(tmp_path / "one_go")
    newest = [sorted((tmp_path / name / "checkpoints").glob("state-*.rest"))[-1] for name in ("killed", "one_go")]
    kept, expected = (packing.from_bytes(path.read_bytes())["state"] for path in newest)
    assert kept["auxiliary"].keys() == {"source.weight", "source.bias", "share.weight", "share.bias"}
    for key, value in kept["auxiliary"].items():
        assert torch.equal(value, expected["auxiliary"][key])


def test_the_weights_are_the_networks_alone(tmp_path):
    names = []
    for method in ("timestep_mixup", "transfer"):
        train(tmp_path / method, changed(method=method, epochs=1))
        names.append([sorted(load_tensors(weights(tmp_path / method, name))) for name in ("best", "last")])
    assert names[0] == names[1]


@pytest.mark.parametrize("options", [{"ratio": 0}, {"ratio": 1}, {"guidance_weight": -1}, {"ratios": 0.5}])
def test_impossible_options(options):
    with pytest.raises(ValidationError):
        method_of(changed(method="timestep_mixup", options=options))
