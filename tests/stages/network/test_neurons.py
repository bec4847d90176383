from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.stages.network.neurons import LifConstants, lif, lif_with_membrane


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
        spike = QuadraticGate.apply(v - constants.threshold, constants.alpha)
        v = v * (1 - spike.detach())
        spikes.append(spike)
        membranes.append(v)
    return torch.stack(spikes), torch.stack(membranes)


def test_lif_golden(golden):
    trace = golden("lif.npz")
    current = trace["input"].requires_grad_()
    constants = LifConstants(trace["tau"].item(), trace["threshold"].item(), trace["alpha"].item())
    spikes, membrane = lif_with_membrane(current, constants)
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
    for function, x in ((lif_with_membrane, fused), (plain_lif, plain)):
        torch.autograd.backward(function(x, constants), list(upstream))
    with torch.no_grad():
        for found, expected in zip(lif_with_membrane(fused, constants), plain_lif(plain, constants), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(fused.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_lif_spikes_only_strictly_above_the_threshold():
    current = torch.tensor([[1.0], [1.0000002]])  # charges to 0.5 exactly, then to a little more
    at, above = (lif(x[None], LifConstants())[0] for x in current)
    assert at.item() == 0
    assert above.item() == 1


def test_lif_without_membrane_gives_the_same_spikes_and_gradient():
    current = torch.randn(5, 2, 3, 4, 4)
    with_membrane, without = current.clone().requires_grad_(), current.clone().requires_grad_()
    spikes, _ = lif_with_membrane(with_membrane, LifConstants())
    spikes.sum().backward()
    lif(without, LifConstants()).sum().backward()
    assert torch.equal(lif(without, LifConstants()), spikes)
    assert torch.equal(without.grad, with_membrane.grad)


def test_lif_keeps_channels_last():
    current = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last).view(3, 2, 4, 5, 5)
    spikes = lif(current, LifConstants())
    assert spikes.stride() == current.stride()
    assert torch.equal(spikes, lif(current.contiguous(), LifConstants()))
