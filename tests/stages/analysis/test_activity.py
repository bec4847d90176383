"""Spikes, operations and energy against what can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import NETWORKS, tiny_network, write_run
from tiny_split import open_tiny_split
from torch import nn

from dvs_transfer.stages.analysis.activity import count_operations, fan_out
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import ActivityConfig
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.prediction import firing_rates

run = ANALYSES["activity"].run


def test_a_network_counted_by_hand() -> None:
    """One spike, in a corner of 4 x 4 pixels, at the first of two steps."""
    network = tiny_network(ModelConfig(widths=(1, "P", 1)), num_steps=2, size=4)
    with torch.no_grad():
        for convolution in (network.backbone[0].conv, network.backbone[2].conv):
            convolution.weight.zero_()
        network.backbone[0].conv.weight[0, 1, 1, 1] = 1  # the pixel itself, ON
    frames = torch.zeros(2, 1, 2, 4, 4)
    frames[0, 0, 1, 0, 0] = 2  # charges to 1, above the threshold of 0.5
    with torch.no_grad(), count_operations(network, 2) as counters:
        network(frames, "event")
    first, second, head = (counter.report(num_recordings=1) for counter in counters.values())
    # A pixel of 4 x 4 reaches 9 outputs, 6 at an edge, 4 in a corner: 4 * 9 + 8 * 6 + 4 * 4 = 100, in two channels
    assert (first.operation, first.macs, first.operations) == ("MAC", 200, (200, 200))
    # The pooled spike, 1/4, is in a corner of 2 x 2, of which all four reach all four
    assert (second.operation, second.macs, second.operations) == ("AC", 16, (4, 0))
    assert (head.operation, head.macs, head.operations) == ("AC", 4 * 4, (0, 0))
    assert first.snn_energy_uj == pytest.approx(2 * 200 * 4.6e-6)
    assert second.snn_energy_uj == pytest.approx(4 * 0.9e-6)
    assert [layer.ann_energy_uj for layer in (first, second)] == pytest.approx([200 * 4.6e-6, 16 * 4.6e-6])


@pytest.mark.parametrize("num_spikes", range(5))
def test_pooled_spikes_count_as_often_as_they_were_sent(num_spikes: int) -> None:
    """k of the four spikes of a pool make an input of k / 4, and k accumulations at each output that it reaches."""
    network = tiny_network(ModelConfig(widths=(1, "P", "P", 1)), num_steps=1, size=8)
    with torch.no_grad():
        network.backbone[0].conv.weight.zero_()
        network.backbone[0].conv.weight[0, 1, 1, 1] = 1
    frames = torch.zeros(1, 1, 2, 8, 8)
    frames[0, 0, 1].view(-1)[[0, 1, 8, 9][:num_spikes]] = 2
    frames[0, 0, 1, 3, 3] = 2  # of the same 4 x 4 pixels, the other pool
    with torch.no_grad(), count_operations(network, 1) as counters:
        network(frames, "event")
    _, second, _ = (counter.report(num_recordings=1) for counter in counters.values())
    assert second.operations == (4 * (num_spikes + 1),)  # a corner of 2 x 2 reaches all four outputs


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [(6, 7), (9, 8)])
def test_fan_out_is_the_gradient_of_a_sum_of_ones(
    kernel_size: int, stride: int, padding: int, size: tuple[int, int]
) -> None:
    layer = nn.Conv2d(2, 3, kernel_size, stride, padding, bias=False).double()
    nn.init.ones_(layer.weight)
    x = torch.zeros(1, 2, *size, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(fan_out(layer, x), x.grad[0, 0])
    assert torch.equal(x.grad[0, 0], x.grad[0, 1])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NETWORKS[name])
    report = run(ActivityConfig(batch_size=5), open_tiny_split, folder)
    split = open_tiny_split("validation")
    network = tiny_network(NETWORKS[name], seed=1)
    frames = torch.from_numpy(split.load_events()).float().transpose(0, 1)
    means = {layer.name: sum(layer.firing_rates) / 3 for layer in report.neurons}
    assert means == pytest.approx(firing_rates(network, frames))
    assert means["backbone.0" if name != "resnet18" else "backbone.blocks.0.first"] > 0
    analog = [layer.name for layer in report.synapses if layer.operation == "MAC"]
    assert analog == (["backbone.stem", "event_head"] if name == "resnet18" else ["backbone.0.conv"])
    for layer in report.synapses:
        assert all(0 <= steps <= layer.macs for steps in layer.operations)
    assert report.energy_ratio == pytest.approx(report.ann_energy_uj / report.snn_energy_uj)
    assert report.acs_per_recording > 0


def test_batch_size_does_not_change_the_counts(run_folder: Path) -> None:
    reports = [run(ActivityConfig(batch_size=n), open_tiny_split, run_folder, restart=True) for n in (1, 5, 64)]
    counts = [(r.neurons, r.synapses, r.spikes_per_recording) for r in reports]
    assert counts[0] == counts[1] == counts[2]
