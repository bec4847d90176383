"""A training run of seconds on `tiny_split`, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import TINY, metrics_of
from tiny_split import open_tiny_split

from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.runs.checkpoint import weights_path
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.progress import TrainingReport

MODEL = ModelConfig(**TINY["model"])
CONFIG = TrainConfig(
    **TINY["train"]
    | {"epochs": 3, "batch_size": 8, "base_learning_rate": 0.3, "deterministic": True, "log_interval": 2}
)


def train(
    folder: Path, config: TrainConfig = CONFIG, open_split: Any = open_tiny_split, **options: Any
) -> TrainingReport:
    return loop.run(MODEL, config, open_split, folder, **options)


def changed(config: TrainConfig = CONFIG, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**config.model_dump(), **changes})


metrics = metrics_of


def weights(folder: Path, name: Any = "last") -> bytes:
    return weights_path(folder, name).read_bytes()
