"""The leaky integrate-and-fire neuron, all time steps of a layer in one operation with a hand-written backward pass.

Equations of He et al. (AAAI 2024), section "LIF neuron", with the surrogate "quadratic gate":

    u[t] = v[t-1] + (x[t] - v[t-1]) / tau         charge, v[-1] = 0
    s[t] = 1 if u[t] > threshold else 0           fire
    v[t] = u[t] * (1 - s[t])                      hard reset; no gradient through s here
    ds/du = max(0, alpha - alpha^2 |u - threshold|)

Here in torch's own operations; `compiled` and `triton_lif` have the same in kernels, `neurons` chooses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class LifConstants(NamedTuple):
    """tau: time constant in steps.  threshold: potential to exceed.  alpha: height of the surrogate gradient."""

    tau: float = 2.0
    threshold: float = 0.5
    alpha: float = 2.0


def pytorch_lif(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes, and membranes after reset where wanted, of current (T, ...), for every device and type.

    Spikes have the type of `current`; potentials, and so the membranes, of a bfloat16 current are float32.
    """
    wide = current.float() if current.dtype == torch.bfloat16 else current
    spikes, membrane = _LifOverTime.apply(wide, constants, want_membrane)  # type: ignore[no-untyped-call]
    return spikes.to(current.dtype), membrane


class _LifOverTime(torch.autograd.Function):
    """Keeps the charged potentials u, from which the backward pass restores spikes and surrogate gradient."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, constants: LifConstants, want_membrane: bool
    ) -> tuple[Tensor, Tensor | None]:
        spikes = torch.empty_like(current)
        membrane = torch.empty_like(current) if want_membrane else None
        charged = torch.empty_like(current) if ctx.needs_input_grad[0] else None
        u = torch.empty_like(current[0])
        v = torch.zeros_like(current[0])
        for t in range(len(current)):
            u = u if charged is None else charged[t]
            torch.sub(current[t], v, out=u)
            torch.add(v, u, alpha=1 / constants.tau, out=u)
            torch.gt(u, constants.threshold, out=spikes[t])
            v = v if membrane is None else membrane[t]
            torch.addcmul(u, u, spikes[t], value=-1, out=v)
        if charged is not None:
            ctx.save_for_backward(charged)
            ctx.constants = constants
        return spikes, membrane

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_membrane: Tensor | None) -> tuple[Tensor, None, None]:
        (charged,) = ctx.saved_tensors
        tau, threshold, alpha = ctx.constants
        grad_current = torch.empty_like(charged)
        grad = torch.zeros_like(charged[0])  # with respect to v[t], then to u[t]
        for t in reversed(range(len(charged))):
            u = charged[t]
            if grad_membrane is not None:
                grad.add_(grad_membrane[t])
            grad.mul_(u <= threshold)
            surrogate = (u - threshold).abs_().mul_(-alpha * alpha).add_(alpha).clamp_(min=0)
            grad.addcmul_(grad_spikes[t], surrogate)
            torch.mul(grad, 1 / tau, out=grad_current[t])
            grad.mul_(1 - 1 / tau)
        return grad_current, None, None
