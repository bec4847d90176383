"""The moving average that is kept in place of the newest weights, against a loop over the states of every step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import NETWORKS, tiny_network
from tiny_run import CONFIG, changed, metrics, train
from tiny_split import open_tiny_split
from torch import nn

from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.prediction import accuracy, predict
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.distributed import ALONE, Processes
from dvs_transfer.stages.training.keeping import KeptNetwork

CPU = torch.device("cpu")
DECAY = 0.28  # reached in the third of nine steps: (1 + 3) / (10 + 3) is more
AVERAGED = changed(average=DECAY, checkpoint_steps=1, keep_checkpoints=100)


class Counting(nn.Module):
    """A network with an integer among its buffers, and a batch norm of torch's."""

    def __init__(self, config: ModelConfig, *, num_classes: int, num_steps: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * size**2, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, frames):
        x = self.norm(self.linear(frames.flatten(0, 1).flatten(1)))
        return x.view(*frames.shape[:2], -1)


def states(folder):
    """(weights, average) after no, one, two ... steps, from the files."""
    paths = sorted((folder / "checkpoints").glob("state-*.safetensors"))
    for path in paths:
        rest = packing.from_bytes(path.with_suffix(".rest").read_bytes())
        yield load_file(path), rest["state"]["average"]


def naive_averages(newest, decay):
    """The average after each step, in double precision; whole numbers are those of the newest."""
    average = {name: value.numpy().astype(np.float64) for name, value in newest[0].items()}
    yield average
    for n, weights in enumerate(newest[1:], 1):
        d = min(decay, (1 + n) / (10 + n))
        average = {
            name: d * average[name] + (1 - d) * value.numpy().astype(np.float64)
            if value.dtype.is_floating_point
            else value.numpy()
            for name, value in weights.items()
        }
        yield average


def own_network():
    return ModelConfig(name=f"{__name__}:{Counting.__name__}")


@pytest.mark.parametrize("model", ["tiny", "own"])
def test_kept_weights_are_the_average_of_those_after_each_step(tmp_path, model):
    loop.run(own_network() if model == "own" else NETWORKS["vgg_snn"], AVERAGED, open_tiny_split, tmp_path)
    newest, averages = zip(*states(tmp_path), strict=True)
    assert len(newest) == 1 + 9
    for found, expected in zip(averages, naive_averages(newest, DECAY), strict=True):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    for name, value in load_file(weights_path(tmp_path, "last")).items():
        assert torch.equal(value, averages[-1][name])
    if model == "own":
        assert averages[-1]["backbone.module.norm.num_batches_tracked"] == 2 * 9  # both branches, step by step
        assert not torch.equal(averages[-1]["backbone.module.norm.running_mean"], torch.zeros(4))


def test_it_is_what_validates_and_training_goes_on_with_its_own(tmp_path):
    train(tmp_path / "plain", changed(CONFIG, checkpoint_steps=1, keep_checkpoints=100))
    train(tmp_path / "averaged", AVERAGED)
    plain, averaged = (list(states(tmp_path / name)) for name in ("plain", "averaged"))
    for (ours, none), (theirs, average) in zip(plain, averaged, strict=True):
        assert none == {} != average
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    keys = ("loss", "grad_norm", "train_accuracy", "w_t")
    for ours, theirs in zip(metrics(tmp_path / "plain"), metrics(tmp_path / "averaged"), strict=True):
        assert [ours[key] for key in keys] == [theirs[key] for key in keys]
        assert ours["firing_rates"] != theirs["firing_rates"]
    network, info = load_weights(weights_path(tmp_path / "averaged", "last"), CPU)
    selection = load(open_tiny_split("validation"), CPU)
    assert info.accuracy == accuracy(predict(network, selection, 8), selection.labels)
    assert metrics(tmp_path / "averaged")[-1]["validation_accuracy"] == info.accuracy


def test_the_best_epoch_has_the_average_of_its_end(tmp_path):
    report = train(tmp_path, AVERAGED)
    averages = [average for _, average in states(tmp_path)]
    for name, value in load_file(weights_path(tmp_path, "best")).items():
        assert torch.equal(value, averages[3 * report.best_epoch][name])


def test_its_statistics_are_adapted(tmp_path):
    """Weights of the average; statistics of events of the recordings without labels, as that network sees them."""
    train(tmp_path, changed(AVERAGED, unlabelled={"adapt": True}))
    newest, average = list(states(tmp_path))[-1]
    kept = load_file(weights_path(tmp_path, "last"))
    adapted = {name for name in kept if name.endswith((".running_mean", ".running_var"))}
    assert len(adapted) == 4
    for name, value in kept.items():
        assert torch.equal(value, average[name]) == (name not in adapted), name
        assert not torch.equal(value, newest[name]), name


def test_only_the_main_process_averages():
    network = tiny_network(NETWORKS["vgg_snn"])
    for processes, follows in ((ALONE, True), (Processes(0, 2), True), (Processes(1, 2), False)):
        kept = KeptNetwork.of(AVERAGED, network, None, processes)
        assert (kept.average is not None) == follows
        kept.follow(1)
        assert bool(kept.state()) == follows
    assert KeptNetwork.of(CONFIG, network, None, ALONE).average is None


def test_other_tensors_than_the_network_s_hold_it():
    """An average that shared memory with what trains would be the newest weights."""
    network = tiny_network(NETWORKS["resnet18"]).train()
    kept = KeptNetwork.of(changed(average=0.9), network, None, ALONE)
    assert not kept.average.training
    assert network.training
    before = {name: value.clone() for name, value in kept.state().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in kept.state().items())
    kept.follow(1)
    for name, value in kept.state().items():
        torch.testing.assert_close(value, before[name] + 9 / 11)


def test_a_configuration_without_is_what_it_was(tmp_path):
    assert "average" not in TrainConfig().model_dump(mode="json")
    train(tmp_path, changed(epochs=1))
    assert "average" not in json.loads((tmp_path / "config.json").read_text())["train"]
