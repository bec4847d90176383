"""Running statistics that follow other frames than those of training."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import NETWORKS, tiny_network

from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.network.prediction import adapted


@pytest.mark.parametrize("name", ["vgg_snn", "vgg_snn_small", "resnet18"])
@pytest.mark.parametrize("domain", ["static", "event"])
@pytest.mark.usefixtures("cpu_implementation")
def test_statistics_are_those_of_the_frames(name, domain):
    network = tiny_network(NETWORKS[name])
    before = {key: buffer.clone() for key, buffer in network.named_buffers()}
    frames = 3 * torch.rand(3, 6, 2, 16, 16)
    copy = adapted(network, [frames], domain)
    assert all(torch.equal(before[key], buffer) for key, buffer in network.named_buffers())
    assert not copy.training
    norm = next(module for module in copy.modules() if isinstance(module, BatchNormOverTime))
    first = copy.backbone.stem if name == "resnet18" else copy.backbone[0].conv
    with torch.no_grad():
        received = first(frames.flatten(0, 1))
    mean, variance = norm.running(domain)
    torch.testing.assert_close(mean, received.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(variance, received.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    other = norm.running("event" if domain == "static" else "static")
    assert torch.equal(other[0], torch.zeros_like(other[0]))
    assert (norm.mode, norm.momentum) == (NETWORKS[name].batch_norm, 0.1)


def test_batches_count_equally():
    network = tiny_network(NETWORKS["vgg_snn"])
    batches = [torch.rand(3, 6, 2, 16, 16) * scale for scale in (1, 2, 5)]
    norms = [
        next(m for m in adapted(network, part, "event").modules() if isinstance(m, BatchNormOverTime))
        for part in (batches, *([batch] for batch in batches))
    ]
    together, *alone = [norm.running("event")[0] for norm in norms]
    torch.testing.assert_close(together, torch.stack(alone).mean(0))
