"""What an evaluation may ask more of a trained network: its other head, moved recordings, statistics of other ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ...cache.paired import UnlabelledRecordings
from ..batches.data import event_frames
from ..batches.loading import Loader
from ..network.layers import BatchNormOverTime
from ..network.networks import SpikingNetwork
from ..network.prediction import adapted, predict_steps
from ..runs.checkpoint import CheckpointInfo
from ..training.config import read_training
from ..training.methods import photo_head_of
from ..training.unlabelled import MOST_ADAPTED
from .config import EvaluateConfig

ADAPTED_BATCH = 32  # recordings, of which statistics are taken


class MeanOfHeads(nn.Module):
    """The mean of the logits of several heads."""

    def __init__(self, *heads: nn.Module) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([head(x) for head in self.heads]).mean(0)


def with_heads(
    network: SpikingNetwork, info: CheckpointInfo, run_folder: Path, config: EvaluateConfig
) -> SpikingNetwork:
    """The network, which with `heads = "both"` gets the mean of its two heads as event head.

    That is where a head of images was trained; one that was not says nothing. Raises TrainingError: `config.json` does
    not say how the network was trained, or a recording would be moved out of its frame.
    """
    if config.shifts >= info.size:
        raise TrainingError(
            f"evaluate.shifts = {config.shifts}: expected less than a frame's side, {info.size} pixels; one or two of "
            "48 keep what there is to see"
        )
    if config.heads == "event" or network.static_head is None:
        return network
    if photo_head_of(read_training(run_folder), info.method) == "static":
        network.event_head = MeanOfHeads(network.event_head, network.static_head)
    return network


def with_statistics_of(
    recordings: UnlabelledRecordings, network: SpikingNetwork, device: torch.device
) -> SpikingNetwork:
    """A copy of the network whose running statistics of events are those of mixed batches of `recordings`.

    A store lies class by class, and layers normalise with the batch: so batches are drawn, always the same ones.
    Raises TrainingError: nothing in the network has such statistics.
    """
    if not any(isinstance(module, BatchNormOverTime) for module in network.modules()):
        raise TrainingError(
            "evaluate.adapt = true: the network has no batch norm of dvs_transfer whose running statistics could be "
            "adapted; evaluate with evaluate.adapt = false"
        )
    rows = np.random.default_rng(0).permutation(len(recordings))[: ADAPTED_BATCH * MOST_ADAPTED]

    def batches() -> Iterator[Tensor]:
        for chosen in np.array_split(rows, math.ceil(len(rows) / ADAPTED_BATCH)):
            frames = np.asarray(recordings.load_events(np.sort(chosen)), np.float32)
            yield event_frames(torch.from_numpy(frames).to(device))

    with torch.no_grad():
        return adapted(network, batches(), "event")


def predict_views(network: nn.Module, events: Loader, config: EvaluateConfig) -> list[Tensor]:
    """Logits (T, n, num_classes) of each view: recordings as they are, then moved right, left, down and up."""
    n = config.shifts
    moves = [(0, 0), *([(n, 0), (-n, 0), (0, n), (0, -n)] if n else [])]
    return [predict_steps(network, events, config.batch_size, move) for move in moves]


def scores_after_steps(views: Sequence[Tensor]) -> Tensor:
    """(T, n, num_classes) what names a recording after steps 1 to t, of the logits (T, n, num_classes) of its views.

    Of one view the mean of the logits of these steps; of several, the logarithm of the mean over the views of the
    probabilities, which are the softmax of that mean. The softmax of the scores are the probabilities in both.
    """
    means = [torch.stack([logits[: step + 1].mean(0) for step in range(len(logits))]) for logits in views]
    if len(means) == 1:
        return means[0]
    return torch.stack(means).double().log_softmax(-1).logsumexp(0) - math.log(len(means))
