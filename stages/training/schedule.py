"""The learning rate of each epoch: linear warm-up, then a cosine (timm's CosineLRScheduler stepped once an epoch)."""

from __future__ import annotations

import math

from .config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Learning rate of `epoch`, counted from 0.

    The warm-up ends at the peak, but the cosine is counted from epoch 0, as in timm: the first epoch after the
    warm-up is already a little below the peak. From `config.epochs` on it stays at the minimum.
    """
    peak = config.base_learning_rate * config.batch_size / 1024
    if epoch < config.warmup_epochs:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * epoch / config.warmup_epochs
    if epoch >= config.epochs:
        return config.min_learning_rate
    cosine = (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return config.min_learning_rate + (peak - config.min_learning_rate) * cosine
