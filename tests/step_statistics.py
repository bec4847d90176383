"""How much of a run's accuracy hangs on the running statistics of its batch norms. Arguments: RUN...

The last weights name the validation recordings with the statistics that training left, with those of all training
recordings at all time steps, and with those of all training recordings at each step alone, which is what
`model.batch_norm = per_step` normalises with while it trains. Prints a line of top-1 accuracies for each run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dvs_transfer.pipeline.experiment import open_splits_of
from dvs_transfer.stages.batches.data import event_frames
from dvs_transfer.stages.network.layers import EPSILON, BatchNormOverTime
from dvs_transfer.stages.network.neurons import spike
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path

BATCH = 60  # training recordings that share their statistics


class StepStatistics:
    """Stands in for a batch norm's forward pass. means, variances: sums of (T, C) over the batches that were seen."""

    def __init__(self, norm: BatchNormOverTime) -> None:
        self.norm, self.num_batches, self.way = norm, 0, "measure"
        self.means = self.squares = torch.zeros(())

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each step (T, C)."""
        if self.way == "measure":
            mean, square = x.mean((1, 3, 4)), x.square().mean((1, 3, 4))
            self.means, self.squares, self.num_batches = self.means + mean, self.squares + square, self.num_batches + 1
            if self.norm.mode == "merged":
                mean, square = (part.mean(0, keepdim=True).expand_as(part) for part in (mean, square))
            return mean, square - mean.square()
        mean, square = self.means / self.num_batches, self.squares / self.num_batches
        if self.way == "all":
            mean, square = (part.mean(0, keepdim=True).expand_as(part) for part in (mean, square))
        return mean, square - mean.square()

    def __call__(self, x: Tensor, domain: str) -> Tensor:
        steps = zip(x, *self.statistics(x), strict=True)
        affine = self.norm.weight, self.norm.bias
        return torch.stack([F.batch_norm(step, mean, var, *affine, False, 0, EPSILON) for step, mean, var in steps])

    def then_lif(self, x: Tensor, domain: str, constants, want_membrane: bool):
        return spike(self(x, domain), constants, want_membrane)


@torch.inference_mode()
def measure(run: Path) -> list[float]:
    network, _ = load_weights(weights_path(run, "last"), torch.device("cpu"))
    splits = open_splits_of(run)
    train, validation = splits("train"), splits("validation")
    events = torch.from_numpy(validation.load_events()).float()
    labels = torch.from_numpy(validation.event_labels)

    def accuracy() -> float:
        logits = [network(event_frames(part), "event").mean(0) for part in events.split(BATCH)]
        return float((torch.cat(logits).argmax(1) == labels).double().mean())

    found = [accuracy()]
    stand_ins = [StepStatistics(module) for module in network.modules() if isinstance(module, BatchNormOverTime)]
    for stand_in in stand_ins:
        stand_in.norm.forward, stand_in.norm.then_lif = stand_in, stand_in.then_lif
    for part in torch.from_numpy(train.load_events()).float().split(BATCH):
        network(event_frames(part), "event")
    for way in ("all", "each"):
        for stand_in in stand_ins:
            stand_in.way = way
        found.append(accuracy())
    return found


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        trained, every, each = measure(Path(name))
        sys.stdout.write(f"{name}: as trained {trained:.1%}, of all steps {every:.1%}, of each step {each:.1%}\n")


if __name__ == "__main__":
    main()
