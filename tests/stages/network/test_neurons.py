from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.stages.network.lif import LifConstants
from dvs_transfer.stages.network.neurons import SMALLEST, SMALLEST_ALONE, implementation_for, spike, using
from dvs_transfer.stages.network.runtime import torch_settings


class QuadraticGate(torch.autograd.Function):
    """The step function with the surrogate gradient, for the plain neuron."""

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        inside = x.abs() <= 1 / ctx.alpha
        return grad * torch.where(inside, ctx.alpha - ctx.alpha**2 * x.abs(), 0), None


def plain_lif(current, constants):
    """The neuron as the method states it, step by step, with autograd's gradients."""
    v = torch.zeros_like(current[0])
    spikes, membranes = [], []
    for x in current:
        v = v + (x - v) / constants.tau
        fired = QuadraticGate.apply(v - constants.threshold, constants.alpha)
        v = v * (1 - fired.detach())
        spikes.append(fired)
        membranes.append(v)
    return torch.stack(spikes), torch.stack(membranes)


def test_lif_golden(golden):
    trace = golden("lif.npz")
    current = trace["input"].requires_grad_()
    constants = LifConstants(trace["tau"].item(), trace["threshold"].item(), trace["alpha"].item())
    spikes, membrane = spike(current, constants, True)
    assert torch.equal(spikes, trace["spikes"])
    torch.testing.assert_close(membrane, trace["membrane"], rtol=1e-9, atol=1e-12)
    torch.autograd.backward([spikes, membrane], [trace["grad_spikes"], trace["grad_membrane"]])
    torch.testing.assert_close(current.grad, trace["grad_input"], rtol=1e-9, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    num_steps=st.integers(1, 12),
    num_neurons=st.integers(1, 33),
    tau=st.floats(1, 5),
    threshold=st.floats(0.1, 2),
    alpha=st.floats(0.5, 4),
    seed=st.integers(0, 2**31),
)
def test_lif_equals_plain_lif(num_steps, num_neurons, tau, threshold, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (num_steps, 2, num_neurons)
    current = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    upstream = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    constants = LifConstants(tau, threshold, alpha)

    fused, plain = current.clone().requires_grad_(), current.clone().requires_grad_()
    for outputs in (spike(fused, constants, True), plain_lif(plain, constants)):
        torch.autograd.backward(outputs, list(upstream))
    with torch.no_grad():
        for found, expected in zip(spike(fused, constants, True), plain_lif(plain, constants), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(fused.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_lif_spikes_only_strictly_above_the_threshold():
    current = torch.tensor([[1.0], [1.0000002]])  # charges to 0.5 exactly, then to a little more
    at, above = (spike(x[None], LifConstants(), False)[0][0] for x in current)
    assert at.item() == 0
    assert above.item() == 1


def test_lif_without_membrane_gives_the_same_spikes_and_gradient():
    current = torch.randn(5, 2, 3, 4, 4)
    with_membrane, without = current.clone().requires_grad_(), current.clone().requires_grad_()
    spikes, _ = spike(with_membrane, LifConstants(), True)
    spikes.sum().backward()
    alone, _ = spike(without, LifConstants(), False)
    alone.sum().backward()
    assert torch.equal(alone, spikes)
    assert torch.equal(without.grad, with_membrane.grad)


def test_lif_keeps_channels_last():
    current = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last).view(3, 2, 4, 5, 5)
    spikes, _ = spike(current, LifConstants(), False)
    assert spikes.stride() == current.stride()
    assert torch.equal(spikes, spike(current.contiguous(), LifConstants(), False)[0])


@pytest.mark.parametrize(("threads", "least"), [(1, SMALLEST_ALONE), (2, SMALLEST)])
def test_size_and_threads_choose(threads, least):
    with torch_settings(threads=threads):
        below, enough = (torch.empty(1).expand(1, number) for number in (least - 1, least))
        assert [implementation_for(x) for x in (below, enough)] == ["pytorch", "compiled"]
        with using("compiled"):
            assert implementation_for(below) == "compiled"
        with using("pytorch"):
            assert implementation_for(enough) == "pytorch"
        assert implementation_for(enough) == "compiled"
