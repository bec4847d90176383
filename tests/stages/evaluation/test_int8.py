"""Evaluation with 8-bit weights, and in bfloat16, against the float32 network."""

from __future__ import annotations

import pytest
import torch

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.batches.loading import OnDevice
from dvs_transfer.stages.evaluation import precision
from dvs_transfer.stages.evaluation.precision import Int8Network, in_precision, quantize
from dvs_transfer.stages.evaluation.views import MeanOfHeads
from dvs_transfer.stages.network import compiled
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.layers import SpikingConv
from dvs_transfer.stages.network.lif import LifConstants, pytorch_lif
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.network.prediction import predict_steps
from dvs_transfer.stages.network.runtime import cpu_capabilities

needs_int8 = pytest.mark.skipif(
    not cpu_capabilities() & {"avx512_vnni", "avx_vnni"}, reason="needs a CPU with 8-bit products (VNNI)"
)


def trained_network(widths, size=20, name="vgg_snn"):
    """With norms that have seen data, so that most layers spike now and then."""
    network = build_network(ModelConfig(name=name, widths=widths), num_classes=5, num_steps=4, size=size, seed=3)
    generator = torch.Generator().manual_seed(4)
    for module in network.modules():
        if isinstance(module, SpikingConv) and module.norm is not None:
            with torch.no_grad():
                module.norm.weight.uniform_(0.5, 1.5, generator=generator)
                module.norm.bias.uniform_(-0.1, 0.6, generator=generator)
    with torch.no_grad():
        for _ in range(30):
            network(frames_of(size), "event")
    return network.eval()


def frames_of(size, batch=6):
    generator = torch.Generator().manual_seed(5)
    return torch.poisson(torch.full((4, batch, 2, size, size), 1.5), generator)


def round_weights(network):
    """The first convolution reads counts and stays as it is."""
    convolutions = [module.conv for module in network.modules() if isinstance(module, SpikingConv)]
    with torch.no_grad():
        for conv in convolutions[1:]:
            weights, scale = quantize(conv.weight)
            conv.weight.copy_(weights * scale[:, None, None, None])
    return network


@pytest.mark.parametrize("pool", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1, 4, 4), (3, 2, 5, 9, 7), (10, 2, 64, 8, 8)])
def test_pooled_spikes_are_sums_of_plain_spikes(shape, pool):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    scale, shift = torch.rand(2, shape[2], generator=torch.Generator().manual_seed(2)) + 0.5
    constants = LifConstants(tau=1.7, threshold=0.4)
    counts = compiled.pooled_spikes(x, scale, shift, constants, pool)
    spikes, _ = pytorch_lif(x * scale[:, None, None] + shift[:, None, None], constants, False)
    expected = torch.nn.functional.avg_pool2d(spikes.flatten(0, 1), pool, divisor_override=1).view(counts.shape)
    assert counts.dtype == torch.uint8
    assert expected.any()
    assert torch.equal(counts.float(), expected)


@needs_int8
@pytest.mark.parametrize("widths", [(8, 16, "P", 16, "P"), (8, "P", "P", 24, 8), (16, "P", 8, "P", 8, "P", 8)])
def test_equals_the_float32_network_with_rounded_weights(widths):
    network = trained_network(widths)
    frames = frames_of(20)
    with torch.inference_mode():
        found = Int8Network(network)(frames, "event")
        whole = network(frames, "event")
        expected = round_weights(network)(frames, "event")
    assert not torch.equal(expected, whole)  # rounding does something
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@needs_int8
def test_any_batch_size_and_the_network_as_it_was():
    network = trained_network((8, "P", 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    events = OnDevice(frames_of(20, batch=7).transpose(0, 1), torch.zeros(7, dtype=torch.int64))
    rounded = in_precision(network, "int8")
    torch.testing.assert_close(predict_steps(rounded, events, 3), predict_steps(rounded, events, 7), rtol=0, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@needs_int8
def test_both_heads_of_a_network_of_8_bits():
    network = trained_network((8, "P", 8))
    frames = frames_of(20)
    event = Int8Network(network)(frames, "event")
    network.event_head, event_head = network.static_head, network.event_head
    static = Int8Network(network)(frames, "event")
    network.event_head = MeanOfHeads(event_head, network.static_head)
    torch.testing.assert_close(Int8Network(network)(frames, "event"), (event + static) / 2)
    assert not torch.equal(event, static)


def test_weights_are_rounded_to_the_nearest_of_255_steps():
    weights = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(6))
    weights[2] = 0
    rounded, scale = quantize(weights)
    assert rounded.dtype == torch.int8
    assert rounded.flatten(1).abs().amax(1).tolist() == [127, 127, 0, 127, 127, 127]
    error = (rounded * scale.view(-1, 1, 1, 1) - weights).abs().flatten(1).amax(1)
    assert bool((error <= scale * 0.5001).all())


def test_bfloat16_is_autocast_and_gives_float32():
    network = trained_network((8, "P", 8))
    frames = frames_of(20)
    with torch.inference_mode():
        found = in_precision(network, "bfloat16")(frames, "event")
        with torch.autocast("cpu", torch.bfloat16):
            expected = network(frames, "event")
    assert (found.dtype, expected.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(found, expected.float())
    assert in_precision(network, "float32") is network


@needs_int8
@pytest.mark.parametrize(
    ("name", "widths"),
    [("scnn", (4, "P", 8)), ("resnet18", (4, 8)), ("vgg_snn", ("P", 8)), ("vgg_snn", (8, *"PPPP", 8))],
)
def test_other_networks_are_refused(name, widths):
    network = build_network(ModelConfig(name=name, widths=widths), num_classes=3, num_steps=2, size=40, seed=0)
    with pytest.raises(TrainingError, match=r"int8 is for vgg_snn and vgg_snn_small.*use float32"):
        in_precision(network, "int8")


def test_machines_that_cannot_are_named(monkeypatch):
    network = build_network(ModelConfig(widths=(4, 4)), num_classes=3, num_steps=2, size=8, seed=0)
    with pytest.raises(TrainingError, match=r"runs on a CPU, not on meta.*float32"):
        in_precision(network.to("meta"), "int8")
    network = build_network(ModelConfig(widths=(4, 4)), num_classes=3, num_steps=2, size=8, seed=0)
    monkeypatch.setattr(precision, "cpu_capabilities", lambda: {"avx2"})
    with pytest.raises(TrainingError, match=r"needs a CPU with 8-bit products.*use float32"):
        in_precision(network, "int8")
    monkeypatch.setattr(precision, "cpu_capabilities", lambda: {"avx512_vnni"})
    monkeypatch.setattr(torch.ops, "onednn", object())
    with pytest.raises(TrainingError, match=r"lacks onednn::qconv_prepack and onednn::qconv_pointwise: use float32"):
        in_precision(network, "int8")
