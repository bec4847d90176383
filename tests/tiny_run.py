"""A training run of seconds on `tiny_split`, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_split import open_tiny_split

from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.runs.checkpoint import weights_path
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.progress import TrainingReport

MODEL = ModelConfig(widths=(8, "P", 8, "P"))
CONFIG = TrainConfig(
    epochs=3, batch_size=8, base_learning_rate=0.3, warmup_epochs=1, threads=1, deterministic=True, log_interval=2
)


def train(
    folder: Path, config: TrainConfig = CONFIG, open_split: Any = open_tiny_split, **options: Any
) -> TrainingReport:
    return loop.run(MODEL, config, open_split, folder, **options)


def changed(config: TrainConfig = CONFIG, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**config.model_dump(), **changes})


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the timing, which is nobody's to repeat."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["pairs_per_s"], line["data_share"]
    return lines


def weights(folder: Path, name: Any = "last") -> bytes:
    return weights_path(folder, name).read_bytes()
