"""What a trained network says of recordings, how often its neurons spike, and norms that follow other frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.data import event_frames
from ..batches.loading import Loader
from .layers import BatchNormOverTime, Domain, Neurons
from .networks import SpikingNetwork


def predict(network: nn.Module, events: Loader, batch_size: int) -> Tensor:
    """Scores (n, num_classes): the mean over time of the event head's logits. Leaves the network in its mode."""
    return predict_steps(network, events, batch_size).mean(0)


@torch.inference_mode()
def predict_steps(network: nn.Module, events: Loader, batch_size: int, move: tuple[int, int] = (0, 0)) -> Tensor:
    """The event head's logits at each step (T, n, num_classes). Leaves the network in its mode.

    move: of the recordings, pixels to the right and down; what leaves the frame is lost, and empty pixels enter.
    """
    right, down = move
    was_training = network.training
    network.eval()
    with closing(events.in_order(batch_size)) as batches:
        moved = (F.pad(frames, (right, -right, down, -down)) if any(move) else frames for frames in batches)
        logits = [network(event_frames(frames), "event") for frames in moved]
    network.train(was_training)
    return torch.cat(logits, dim=1)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of scores (n, num_classes) whose largest entry is their label (n,)."""
    return float((scores.argmax(1) == labels).double().mean())


@contextmanager
def spikes_of(network: nn.Module, keep: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """While it is open: what `keep` makes of the spikes (T, B, ...) of each layer of neurons that computes, by name.

    Layers are `Neurons`; a user's network may have none.
    """
    kept: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, Any, tuple[Tensor, Any]], None]:
        return lambda layer, inputs, outputs: kept.update({name: keep(outputs[0])})

    with ExitStack() as hooks:
        for name, layer in network.named_modules():
            if isinstance(layer, Neurons):
                hooks.enter_context(layer.register_forward_hook(note(name.removesuffix(".neurons"))))
        yield kept


@torch.inference_mode()
def firing_rates(network: SpikingNetwork, frames: Tensor) -> dict[str, float]:
    """Spikes per neuron and time step of each layer, for frames (T, B, 2, H, W) of recordings in evaluation mode."""
    was_training = network.training
    try:
        with spikes_of(network, lambda spikes: spikes.mean(dtype=torch.float32)) as rates:
            network.eval()(frames, "event")
    finally:
        network.train(was_training)
    return dict(zip(rates, torch.stack(list(rates.values())).tolist(), strict=True)) if rates else {}


@torch.inference_mode()
def adapted(network: SpikingNetwork, batches: Iterable[Tensor], domain: Domain) -> SpikingNetwork:
    """A copy of `network` in evaluation mode whose running statistics of `domain` are those of `batches`.

    batches: frames (T, B, 2, H, W), without labels, of about equal B. The statistics are means over the batches of what
    each layer receives at all steps, while the layers before it normalise with the batch's own (AdaBN; Li et al.,
    2016). Norms that are no `BatchNormOverTime`, of a user's network, stay as they are.
    """
    with torch.inference_mode(False):
        network = copy.deepcopy(network).eval()
    norms = [module.train() for module in network.modules() if isinstance(module, BatchNormOverTime)]
    before = [(norm.mode, norm.momentum) for norm in norms]
    for norm in norms:
        norm.mode = "merged"
    for number, frames in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / number
        network(frames, domain)
    for norm, (mode, momentum) in zip(norms, before, strict=True):
        norm.mode, norm.momentum = mode, momentum
    return network.eval()
