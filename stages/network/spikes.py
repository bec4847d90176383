"""Which neurons spike, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .layers import Neurons
from .networks import SpikingNetwork


@contextmanager
def spikes_of(network: nn.Module, keep: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """While it is open: what `keep` makes of the spikes (T, B, ...) of each layer of neurons that computes, by name."""
    kept: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda layer, inputs, spikes: kept.update({name: keep(spikes)})

    modules = network.named_modules()
    layers = [(name.removesuffix(".neurons"), layer) for name, layer in modules if isinstance(layer, Neurons)]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def firing_rates(network: SpikingNetwork, frames: Tensor) -> dict[str, float]:
    """Spikes per neuron and time step of each layer, for frames (T, B, 2, H, W) of recordings in evaluation mode."""
    was_training = network.training
    try:
        with spikes_of(network, lambda spikes: spikes.mean(dtype=torch.float32)) as rates:
            network.eval()(frames, "event")
    finally:
        network.train(was_training)
    return dict(zip(rates, torch.stack(list(rates.values())).tolist(), strict=True))
