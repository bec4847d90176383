"""The learning rate of each epoch: linear warm-up, then a cosine or steps (timm's schedulers stepped once an epoch)."""

from __future__ import annotations

import math

from .config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int, phase: range | None = None) -> float:
    """Learning rate of `epoch`, counted from 0; a phase of training (all of it) runs through the schedule once.

    The warm-up ends at the peak, but the cosine and the steps are counted from epoch 0, as in timm: the first epoch
    after the warm-up is already a little below the cosine's peak. The cosine ends at the minimum, and stays.
    """
    phase = range(config.epochs) if phase is None else phase
    epoch, epochs = epoch - phase.start, len(phase)
    peak = config.base_learning_rate * config.batch_size / 1024
    if epoch < config.warmup_epochs:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * epoch / config.warmup_epochs
    if config.schedule == "steps":
        return peak * math.pow(config.decay_rate, epoch // config.decay_epochs)
    if epoch >= epochs:
        return config.min_learning_rate
    cosine = (1 + math.cos(math.pi * epoch / epochs)) / 2
    return config.min_learning_rate + (peak - config.min_learning_rate) * cosine
