"""The learning rate of each epoch: linear warm-up, then a cosine or steps (timm's schedulers stepped once an epoch)."""

from __future__ import annotations

import math

from .config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Learning rate of `epoch`, counted from 0. Fine-tuning runs through the schedule once for each of its phases.

    The warm-up ends at the peak, but the cosine and the steps are counted from epoch 0, as in timm: the first epoch
    after the warm-up is already a little below the cosine's peak. The cosine ends at the minimum, and stays.
    """
    epochs = config.epochs
    if config.method == "finetune":
        if epoch >= config.num_pretrain_epochs:
            epoch, epochs = epoch - config.num_pretrain_epochs, epochs - config.num_pretrain_epochs
        else:
            epochs = config.num_pretrain_epochs
    peak = config.base_learning_rate * config.batch_size / 1024
    if epoch < config.warmup_epochs:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * epoch / config.warmup_epochs
    if config.schedule == "steps":
        return peak * math.pow(config.decay_rate, epoch // config.decay_epochs)
    if epoch >= epochs:
        return config.min_learning_rate
    cosine = (1 + math.cos(math.pi * epoch / epochs)) / 2
    return config.min_learning_rate + (peak - config.min_learning_rate) * cosine
