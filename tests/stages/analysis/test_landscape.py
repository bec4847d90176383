"""The centre is the trained network, directions are as long as its filters, and what was interrupted goes on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import NETWORKS, tiny_network, write_run
from tiny_split import open_tiny_split
from torch.nn import functional as F

from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import LandscapeConfig
from dvs_transfer.stages.analysis.landscape import losses_at, mean_loss, random_direction
from dvs_transfer.stages.analysis.results import Samples
from dvs_transfer.stages.training.config import LossConfig

run, read = ANALYSES["landscape"].run, ANALYSES["landscape"].read
SMALL = LandscapeConfig(points_1d=5, points_2d=3, batch_size=5)
NUM_POINTS = 11  # 5 on the line, 9 of the square, of which 3 are on the line


class Count:
    """A progress that counts; stops with an error after `stop_after` pieces."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.total, self.done, self.stop_after = 0, 0, stop_after

    def __call__(self, label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        self.total = total
        return nullcontext(self.advance)

    def advance(self) -> None:
        self.done += 1
        if self.done == self.stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", NETWORKS)
def test_the_centre_is_the_loss_of_the_weights(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NETWORKS[name])
    report = run(SMALL, open_tiny_split, folder)
    _, arrays = read(folder)
    split = open_tiny_split("validation")
    frames = torch.from_numpy(split.load_events()).float().transpose(0, 1)
    labels = torch.from_numpy(split.event_labels)
    with torch.no_grad():
        logits = tiny_network(NETWORKS[name], seed=1)(frames, "event")
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.repeat(3))
    expected = 0.999 * entropy + 0.001 * (logits - 0.5).square().mean()
    assert report.loss_at_weights == pytest.approx(float(expected), rel=1e-5)
    assert report.accuracy_at_weights == pytest.approx(float((logits.mean(0).argmax(1) == labels).float().mean()))
    assert arrays["loss"][1, 1] == arrays["line_loss"][2] == report.loss_at_weights
    assert np.array_equal(arrays["loss"][1], arrays["line_loss"][::2])
    assert len(np.unique(arrays["loss"])) > 5


@pytest.mark.parametrize("name", NETWORKS)
def test_directions_have_the_length_of_each_filter(name: str) -> None:
    network = tiny_network(NETWORKS[name])
    first, second = (random_direction(network, seed=3, index=index) for index in range(2))
    for key, parameter in network.named_parameters():
        if parameter.ndim < 2:
            assert not first[key].any()
            continue
        lengths = parameter.detach().flatten(1).norm(dim=1)
        torch.testing.assert_close(first[key].flatten(1).norm(dim=1), lengths)
        torch.testing.assert_close(second[key].flatten(1).norm(dim=1), lengths)
        assert not torch.equal(first[key], second[key])
    assert {key.rpartition(".")[2] for key, d in first.items() if not d.any()} <= {"weight", "bias", "coefficients"}


def test_the_network_is_as_before_and_batch_norm_never_changes() -> None:
    network = tiny_network(NETWORKS["vgg_snn"])
    with torch.no_grad():
        for layer in (network.backbone[0], network.backbone[2]):
            layer.conv.weight.mul_(20)  # or their neurons would stay silent
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    frames = 20 * torch.rand(3, 4, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = Samples(frames, frames, torch.arange(4))
    point, _ = losses_at([(0.5, -0.5), (1.0, 1.0)], network, [batch], LossConfig(), seed=0)
    elsewhere = copy.deepcopy(network)
    directions = [random_direction(network, seed=0, index=index) for index in range(2)]
    with torch.no_grad():
        for key, parameter in elsewhere.named_parameters():
            parameter.copy_(parameter + 0.5 * directions[0][key] - 0.5 * directions[1][key])
    assert (point.loss, point.accuracy) == mean_loss(elsewhere, {}, [batch], LossConfig())
    assert point.loss != mean_loss(network, {}, [batch], LossConfig())[0]
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    moved = {key for key, along in directions[0].items() if along.any()}
    assert moved == {"backbone.0.conv.weight", "backbone.2.conv.weight", "event_head.weight", "static_head.weight"}


def test_an_interrupted_analysis_goes_on_with_the_same_values(tmp_path: Path) -> None:
    whole, broken = (write_run(tmp_path / name, NETWORKS["vgg_snn"]) for name in ("whole", "broken"))
    expected = run(SMALL, open_tiny_split, whole, progress=(count := Count()))
    assert count.done == count.total == NUM_POINTS
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, open_tiny_split, broken, progress=Count(stop_after=4))
    assert not (broken / "analysis" / "landscape.json").exists()
    diary = broken / "analysis" / "landscape.jsonl"
    with diary.open("a") as file:
        file.write("[0.5, 0.")  # the writer was killed here
    report = run(SMALL, open_tiny_split, broken, progress=(rest := Count()))
    assert rest.total == NUM_POINTS - 4
    assert report.model_copy(update={"seconds": expected.seconds}) == expected
    files = (read(folder)[1] for folder in (whole, broken))
    for name, values in next(files).items():
        assert np.array_equal(values, read(broken)[1][name])
    assert diary.read_bytes() == (whole / "analysis" / "landscape.jsonl").read_bytes()


@pytest.mark.parametrize("line", [b"[0.5, 0.5, x]\n", b"[1, 2]\n", b'"text"\n', b"\xff\n"])
def test_damaged_points_are_not_used(line: bytes, run_folder: Path) -> None:
    expected = run(SMALL, open_tiny_split, run_folder)
    diary = run_folder / "analysis" / "landscape.jsonl"
    diary.write_bytes(diary.read_bytes() + line)
    (run_folder / "analysis" / "landscape.json").unlink()
    report = run(SMALL, open_tiny_split, run_folder, progress=(count := Count()))
    assert count.done == NUM_POINTS
    assert report.model_copy(update={"seconds": expected.seconds}) == expected


def test_points_of_other_settings_are_not_used(run_folder: Path) -> None:
    run(SMALL, open_tiny_split, run_folder)
    run(SMALL.model_copy(update={"seed": 1}), open_tiny_split, run_folder, progress=(count := Count()))
    assert count.done == NUM_POINTS
    run(SMALL.model_copy(update={"seed": 1}), open_tiny_split, run_folder, progress=(count := Count()), restart=True)
    assert count.done == NUM_POINTS
