"""The compiled neuron and batch norm with neuron against torch's own operations."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from dvs_transfer.stages.network import compiled, kernels
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.network.lif import LifConstants, pytorch_lif
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.network.neurons import implementation_for, spike, using


@pytest.fixture(autouse=True)
def for_every_size():
    with using("compiled"):
        yield


CONSTANTS = LifConstants(tau=1.7, threshold=0.4, alpha=1.5)


def layouts(x):
    images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return {
        "contiguous": x,
        "channels_last": images.view(x.shape),
        "strided": x.transpose(0, 1).clone().transpose(0, 1),
    }


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("want_membrane", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 5, 7, 3), (32, 2, 16, 4, 4), (5, 3, 64, 9, 9)])
def test_lif_equals_that_of_torch(shape, want_membrane, layout):
    x = layouts(torch.randn(shape, generator=torch.Generator().manual_seed(1)))[layout]
    upstream = torch.randn((2, *shape), generator=torch.Generator().manual_seed(2))
    results = []
    for function in (spike, pytorch_lif):
        current = x.detach().requires_grad_()
        outputs = function(current, CONSTANTS, want_membrane)
        outputs = [output for output in outputs if output is not None]
        torch.autograd.backward(outputs, list(upstream[: len(outputs)]))
        results.append([*outputs, current.grad])
    assert all(output.stride() == x.stride() for output in results[0][:-1])
    assert torch.equal(results[0][0], results[1][0])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mode", ["per_step", "merged"])
@pytest.mark.parametrize("threads", [1, 2])
def test_norm_then_lif_equals_norm_and_lif_of_torch(mode, training, threads):
    generator = torch.Generator().manual_seed(3)
    shape = (4, 3, 5, 187, 189)  # large enough for threads to share it
    assert math.prod(shape) >= compiled.SHARED_FROM
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 50  # a mean that float32 sums would drown in
    upstream = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    results = []
    try:
        for fused in (True, False):
            norm = BatchNormOverTime(5, mode, "shared").double().train(training)
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(4))
                norm.running_mean.fill_(49)
                norm.running_var.fill_(7)
            current = x.clone().requires_grad_()
            if fused:
                outputs = norm.then_lif(current, "event", CONSTANTS, True)
            else:
                outputs = pytorch_lif(norm(current, "event"), CONSTANTS, True)
            torch.autograd.backward(outputs, list(upstream))
            gradients = (current.grad, norm.weight.grad, norm.bias.grad)
            results.append((*outputs, *gradients, norm.running_mean, norm.running_var))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_statistics_of_numbers_far_from_zero_in_float32():
    x = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(5)) + 3000
    mean, variance = compiled.statistics(x, merged=False)
    exact = torch.var_mean(x.double(), dim=(1, 3, 4), correction=0)
    torch.testing.assert_close(variance.double(), exact[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(mean.double(), exact[1], rtol=1e-6, atol=0)


def test_threads_do_not_change_a_bit():
    x = torch.randn(3, 5, 8, 130, 131, generator=torch.Generator().manual_seed(6))
    assert x.numel() >= compiled.SHARED_FROM
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            norm = BatchNormOverTime(8, "per_step", "shared")
            current = x.clone().requires_grad_()
            spikes, _ = norm.then_lif(current, "event", CONSTANTS, False)
            (spikes * x).sum().backward()
            results.append((spikes, current.grad, norm.weight.grad, norm.running_var))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


@pytest.mark.parametrize("want_membrane", [False, True])
@pytest.mark.parametrize("mode", ["per_step", "merged", None])
@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_in_memory_is_float32_in_arithmetic(mode, training, want_membrane):
    """On numbers that bfloat16 holds, both give the same bits, rounded once where bfloat16 keeps the result."""
    generator = torch.Generator().manual_seed(8)
    x, *upstream = torch.randn(3, 4, 3, 5, 6, 7, generator=generator).bfloat16()
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        norm = None if mode is None else BatchNormOverTime(5, mode, "shared").train(training)
        current = x.detach().to(dtype).requires_grad_()
        function = spike if norm is None else partial(norm.then_lif, domain="event")
        spikes, membrane = function(current, constants=CONSTANTS, want_membrane=want_membrane)
        assert spikes.dtype == dtype
        outputs, gradients = [spikes], [upstream[0].to(dtype)]
        if want_membrane:
            assert membrane.dtype == torch.float32
            outputs, gradients = [*outputs, membrane], [*gradients, upstream[1].float()]
        torch.autograd.backward(outputs, gradients)
        found = [*outputs, current.grad.bfloat16()]
        results.append(found if norm is None else [*found, norm.weight.grad, norm.bias.grad, norm.running_var])
    assert all(torch.equal(one.float(), other.float()) for one, other in zip(*results, strict=True))


def test_bfloat16_is_rounded_as_torch_rounds_it():
    """NaN, infinities and the halves between two neighbours too; the spikes' gradient is what is rounded."""
    special = [0x7F800000, -0x800000, 0x7FC00000, 0x7FFFFFFF, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 1, 0x8000, 0x18000]
    bits = torch.randint(-(2**31), 2**31, (2000,), generator=torch.Generator().manual_seed(9))
    numbers = torch.cat([torch.tensor(special), bits]).to(torch.int32).view(torch.float32).reshape(1, 1, -1)
    rounded = torch.empty_like(numbers, dtype=torch.bfloat16)
    quiet = np.full(numbers.shape, np.uint16(0))  # no current, no gradient: what is added to them remains
    one, zero = np.ones(numbers[0].shape, np.float32), np.zeros(numbers[0].shape, np.float32)
    constants = (np.float32(0.5), np.float32(0.5), np.float32(2))
    out = rounded.view(torch.uint16).numpy()
    kernels.lif_backward(
        quiet, one, zero, constants, quiet, None, 0, 1, None, None, None, zero, numbers[0].numpy(), out
    )
    torch.testing.assert_close(rounded, numbers.bfloat16(), rtol=0, atol=0, equal_nan=True)


def test_what_the_kernels_cannot_take_is_left_to_torch():
    assert implementation_for(torch.zeros(2, 3)) == "compiled"
    for x in (torch.zeros(2, 3, dtype=torch.float16), torch.zeros(2, 3, device="meta"), torch.zeros(2, 0)):
        assert implementation_for(x) == "pytorch"


def test_bfloat16_computes_near_float32():
    """Spikes near the threshold differ, so only sums are compared. Measured over 40 seeds: at most 1.6 and 1.4 %."""
    network = build_network(ModelConfig(widths=(16, "P", 16)), num_classes=4, num_steps=3, size=16, seed=0)
    frames = torch.rand(3, 8, 2, 16, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(8) % 4
    losses, norms = [], []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits, features = network.with_features(frames, "event")
        assert features.dtype == torch.float32
        loss = torch.nn.functional.cross_entropy(logits.float().mean(0), labels)
        loss.backward()
        losses.append(loss.detach())
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None]))
    torch.testing.assert_close(losses[1], losses[0], rtol=0.03, atol=0)
    torch.testing.assert_close(norms[1], norms[0], rtol=0.03, atol=0)
