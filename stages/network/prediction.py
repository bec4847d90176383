"""What a trained network says of recordings: the event branch alone, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import torch
from torch import Tensor, nn

from ..batches.data import event_frames
from ..batches.loading import Loader


def predict(network: nn.Module, events: Loader, batch_size: int) -> Tensor:
    """Scores (n, num_classes): the mean over time of the event head's logits. Leaves the network in its mode."""
    return torch.cat([logits.mean(0) for logits in _logits(network, events, batch_size)])


def predict_steps(network: nn.Module, events: Loader, batch_size: int) -> Tensor:
    """The event head's logits at each step (T, n, num_classes). Leaves the network in its mode."""
    return torch.cat(list(_logits(network, events, batch_size)), dim=1)


@torch.inference_mode()
def _logits(network: nn.Module, events: Loader, batch_size: int) -> Iterator[Tensor]:
    was_training = network.training
    network.eval()
    with closing(events.in_order(batch_size)) as batches:
        for frames in batches:
            yield network(event_frames(frames), "event")
    network.train(was_training)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of scores (n, num_classes) whose largest entry is their label (n,)."""
    return float((scores.argmax(1) == labels).double().mean())
