"""The door to the neurons: one function chooses what computes them, by device, type, number of neurons and threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from . import compiled
from .lif import LifConstants, pytorch_lif

Implementation = Literal["pytorch", "compiled", "triton"]

# Elements of a layer from which the compiled kernels are chosen, with several threads and with one: on two threads
# torch's own operations were faster below, on one they are slower by half (docs/performance.md).
SMALLEST = 5_000_000
SMALLEST_ALONE = 100_000

_has_triton = find_spec("triton") is not None
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
    if wanted in ("triton", None) and x.device.type == "cuda" and x.numel() and _has_triton:
        return "triton"
    least = SMALLEST if torch.get_num_threads() > 1 else SMALLEST_ALONE
    if compiled.can_take(x) and (wanted == "compiled" or (wanted is None and x.numel() >= least)):
        return "compiled"
    return "pytorch"


def spike(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    """Spikes (T, B, ...) in {0, 1} of neurons that start at rest and receive `current` (T, B, ...), in its layout.

    With `want_membrane` also the membrane potentials after reset; gradients flow through both.
    """
    function = _LIF[implementation_for(current)]
    if current.is_contiguous():
        return function(current, constants, want_membrane)
    strides = current.stride()
    order = [0, *sorted(range(1, current.ndim), key=lambda i: (-strides[i], i))]
    back = [order.index(i) for i in range(current.ndim)]
    spikes, membrane = function(current.permute(order).contiguous(), constants, want_membrane)
    return spikes.permute(back), None if membrane is None else membrane.permute(back)


def _triton_lif(current: Tensor, constants: LifConstants, want_membrane: bool) -> tuple[Tensor, Tensor | None]:
    from .triton_lif import lif  # Triton takes a second to import

    return lif(current, constants, want_membrane)


_LIF = {"pytorch": pytorch_lif, "compiled": compiled.lif, "triton": _triton_lif}
