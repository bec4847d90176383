"""What a trained network says of recordings: the event branch alone, in evaluation mode."""

from __future__ import annotations

import torch
from torch import Tensor

from .data import EventData, event_frames
from .networks import SpikingNetwork


@torch.inference_mode()
def predict(network: SpikingNetwork, events: EventData, batch_size: int) -> Tensor:
    """Scores (n, num_classes): the mean over time of the event head's logits. Leaves the network in its mode."""
    was_training = network.training
    network.eval()
    scores = [
        network(event_frames(events.batch(slice(first, first + batch_size))), "event").mean(0)
        for first in range(0, len(events), batch_size)
    ]
    network.train(was_training)
    return torch.cat(scores)


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of scores (n, num_classes) whose largest entry is their label (n,)."""
    return float((scores.argmax(1) == labels).double().mean())
