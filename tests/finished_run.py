"""A run that looks finished and evaluated, made of files alone, on a small pair store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluations import evaluation_of
from tiny import RAW

from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.pipeline.config import ExperimentConfig, validate
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import write_results
from dvs_transfer.stages.runs.checkpoint import weights_digest

from stores import CLASS_NAMES

MakeRun = Callable[..., Path]


def make_run(folder: Path, pairs: Path, train: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A run of three epochs. train: its settings; others: of `evaluate`, for the test split."""
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.safetensors").write_bytes(folder.name.encode())
    config = validate(ExperimentConfig, {"name": "x", **RAW, "train": train or {}}, "test").model_dump(mode="json")
    (folder / "config.json").write_text(json.dumps({"experiment": config, "pairs": str(pairs)}))
    metrics = [
        {
            "epoch": epoch,
            "loss": 3.0 / epoch,
            "loss_static": 1.0 / epoch,
            "train_accuracy": 0.5,
            "validation_accuracy": None,
            "w_t": [0.7, 0.8],
            "sliding_probability": epoch / 3,
            "firing_rates": {"backbone.0": 0.1},
        }
        for epoch in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    evaluate(folder, PairedCache.open(pairs, "test"), **changes)
    return folder


def evaluate(
    folder: Path,
    recordings: PairedCache,
    class_names: Sequence[str] = CLASS_NAMES,
    wrong: Sequence[int] = (0, 1),
    wrong_last: Sequence[int] | None = None,
    **changes: Any,
) -> None:
    """Write an evaluation in which the recordings `wrong` (by the last epoch `wrong_last`) got the next class."""
    labels = recordings.event_labels.tolist()

    def named_all_but(mistaken: Sequence[int]) -> tuple[str, ...]:
        return tuple(class_names[(label + (row in mistaken)) % len(class_names)] for row, label in enumerate(labels))

    last = None if wrong_last is None else named_all_but(wrong_last)
    named = Predictions(tuple(recordings.sample_ids), named_all_but(()), named_all_but(wrong), last)
    facts = {
        "split": recordings.split,
        "split_digest": recordings.split_digest,
        "recordings_digest": recordings.recordings_digest,
    }
    digests = {"weights_digest": weights_digest(folder, "best"), "last_weights_digest": weights_digest(folder, "last")}
    write_results(folder, evaluation_of(named, class_names, **(facts | digests | changes)), named)
