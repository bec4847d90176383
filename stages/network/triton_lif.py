"""The neuron over all time steps as two Triton kernels, for CUDA devices. Imported only where Triton is installed.

Each program runs 256 neurons through time in registers. The backward pass computes the potentials again from the
currents, so that nothing but them is kept; potentials and gradients are float32 whatever the tensors' type.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .lif import LifConstants

_BLOCK = 256


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    current,
    spikes,
    membrane,
    n,
    inverse_tau,
    threshold,
    NUM_STEPS: tl.constexpr,
    HAS_MEMBRANE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = neuron < n
    at = neuron  # goes up by n: t * n would be of 32 bits, too few for the largest layers
    v = tl.zeros((BLOCK,), tl.float32)
    for _ in tl.static_range(NUM_STEPS):
        u = v + (tl.load(current + at, mask=inside, other=0.0).to(tl.float32) - v) * inverse_tau
        fired = u > threshold
        tl.store(spikes + at, tl.where(fired, 1.0, 0.0).to(spikes.dtype.element_ty), mask=inside)
        v = tl.where(fired, 0.0, u)
        if HAS_MEMBRANE:
            tl.store(membrane + at, v.to(membrane.dtype.element_ty), mask=inside)
        at += n


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    current,
    grad_spikes,
    grad_membrane,
    grad_current,
    n,
    inverse_tau,
    threshold,
    alpha,
    NUM_STEPS: tl.constexpr,
    HAS_MEMBRANE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = neuron < n
    at = neuron
    potentials = ()  # the loops are unrolled, so these are registers
    v = tl.zeros((BLOCK,), tl.float32)
    for _ in tl.static_range(NUM_STEPS):
        u = v + (tl.load(current + at, mask=inside, other=0.0).to(tl.float32) - v) * inverse_tau
        potentials = potentials + (u,)  # type: ignore[assignment] # noqa: RUF005 - all that Triton knows
        v = tl.where(u > threshold, 0.0, u)
        at += n
    grad_v = tl.zeros((BLOCK,), tl.float32)
    for step in tl.static_range(NUM_STEPS):
        at -= n
        above = potentials[NUM_STEPS - 1 - step] - threshold
        if HAS_MEMBRANE:
            grad_v += tl.load(grad_membrane + at, mask=inside, other=0.0).to(tl.float32)
        upstream = tl.load(grad_spikes + at, mask=inside, other=0.0).to(tl.float32)
        grad = tl.where(above > 0, 0.0, grad_v) + upstream * tl.maximum(alpha - alpha * alpha * tl.abs(above), 0.0)
        grad_v = grad * (1 - inverse_tau)
        tl.store(grad_current + at, (grad * inverse_tau).to(grad_current.dtype.element_ty), mask=inside)


def _launch(kernel: Any, current: Tensor, tensors: tuple[Tensor | None, ...], numbers: tuple[float, ...]) -> None:
    """Run a kernel over all neurons; the second of `tensors` is of membranes, or None."""
    n = current[0].numel()
    shape = {"NUM_STEPS": len(current), "HAS_MEMBRANE": tensors[1] is not None, "BLOCK": _BLOCK}
    # Triton launches on the current device, whichever the tensors are on
    with torch.cuda.device_of(current):  # type: ignore[no-untyped-call]
        kernel[(triton.cdiv(n, _BLOCK),)](current, *tensors, n, *numbers, **shape)


class _Lif(torch.autograd.Function):
    """Keeps the currents alone."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, constants: LifConstants, want_membrane: bool
    ) -> tuple[Tensor, Tensor | None]:
        spikes = torch.empty_like(current)
        membrane = torch.empty_like(current, dtype=torch.float32) if want_membrane else None
        _launch(_forward, current, (spikes, membrane), (1 / constants.tau, constants.threshold))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(current)
            ctx.constants = constants
        return spikes, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor | None) -> tuple[Tensor, None, None]:
        (current,) = ctx.saved_tensors
        tau, threshold, alpha = ctx.constants
        grad_current = torch.empty_like(current)
        grad_membrane = None if grad_membrane is None else grad_membrane.contiguous()
        _launch(
            _backward, current, (grad_spikes.contiguous(), grad_membrane, grad_current), (1 / tau, threshold, alpha)
        )
        return grad_current, None, None


def lif(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes in the type of current (T, ...), contiguous, and float32 membranes after reset where wanted."""
    spikes, membrane = _Lif.apply(current, constants, want_membrane)  # type: ignore[no-untyped-call]
    return spikes, membrane
