"""The door to the neurons: one function chooses what computes them, by device, type, number of neurons and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from . import compiled
from .lif import LifConstants, pytorch_lif

Implementation = Literal["pytorch", "compiled", "triton"]
Lif = Callable[[Tensor, LifConstants, bool], tuple[Tensor, Tensor | None]]

# Elements of a layer from which the compiled kernels are chosen, with several threads and with one: on two threads
# torch's own operations were faster below, on one they are slower by half (docs/performance.md).
SMALLEST = 5_000_000
SMALLEST_ALONE = 100_000

_wanted: ContextVar[Implementation | None] = ContextVar("wanted implementation", default=None)


@contextmanager
def using(implementation: Implementation) -> Iterator[None]:
    """Within it neurons are computed this way wherever it can take them (else by torch), however many they are.

    It is for comparisons: without it the fastest way is chosen.
    """
    token = _wanted.set(implementation)
    try:
        yield
    finally:
        _wanted.reset(token)


def implementation_for(x: Tensor) -> Implementation:
    """What computes neurons that receive x (T, ...): what `using` says, else the fastest that can take it."""
    wanted = _wanted.get()
    if wanted in ("triton", None) and x.device.type == "cuda" and x.numel() and _triton_lif() is not None:
        return "triton"
    least = SMALLEST if torch.get_num_threads() > 1 else SMALLEST_ALONE
    if compiled.can_take(x) and (wanted == "compiled" or (wanted is None and x.numel() >= least)):
        return "compiled"
    return "pytorch"


def spike(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes (T, B, ...) in {0, 1} of neurons that start at rest and receive `current` (T, B, ...), in its layout.

    With `want_membrane` also the membrane potentials after reset; gradients flow through both.
    """
    ways = {"pytorch": pytorch_lif, "compiled": compiled.lif, "triton": _triton_lif()}
    function = ways[implementation_for(current)]
    assert function is not None
    if current.is_contiguous():
        return function(current, constants, want_membrane)
    strides = current.stride()
    order = [0, *sorted(range(1, current.ndim), key=lambda i: (-strides[i], i))]
    back = [order.index(i) for i in range(current.ndim)]
    spikes, membrane = function(current.permute(order).contiguous(), constants, want_membrane)
    return spikes.permute(back), None if membrane is None else membrane.permute(back)


@cache
def _triton_lif() -> Lif | None:
    """The Triton kernel; None where Triton is not installed."""
    try:
        from .triton_lif import lif
    except ImportError:
        return None
    return lif
