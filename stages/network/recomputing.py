"""Layers that keep nothing but their input for the backward pass, which then computes them once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[[Tensor], Any], layers: Iterable[nn.Module], x: Tensor) -> Any:
    """function(x), which runs `layers` in training mode; their activations are not kept (Chen et al., 2016).

    Outputs, gradients and the layers' statistics have the same bits as without.
    """
    if not torch.is_grad_enabled():
        return function(x)
    again = _StatisticsAside([module for layer in layers for module in layer.modules()])
    return checkpoint(
        function, x, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), again)
    )


class _StatisticsAside:
    """Within it the modules' buffers are copies: running statistics see a batch once, not again when recomputing.

    The buffers are exchanged and not written back, for a write would make what autograd kept of them invalid.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules = modules
        self.aside: list[dict[str, Tensor | None]] = []

    def __enter__(self) -> None:
        self.aside = [module._buffers for module in self.modules]
        for module in self.modules:
            copies = {name: None if buffer is None else buffer.clone() for name, buffer in module._buffers.items()}
            module._buffers = copies

    def __exit__(self, *exception: object) -> None:
        for module, buffers in zip(self.modules, self.aside, strict=True):
            module._buffers = buffers
