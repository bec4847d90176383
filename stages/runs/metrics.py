"""The run's diary, `metrics.jsonl`: one JSON object for each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cache import durable
from ...cache.documents import parse_json, read_document
from ...cache.errors import TrainingError

MetricsLine = dict[str, Any]

def metrics_path(run_folder: Path) -> Path:
    return run_folder / "metrics.jsonl"


def keep_metrics(run_folder: Path, num_epochs: int) -> None:
    """Drop what was written after epoch `num_epochs`: epochs that a killed run did not finish, and half a line."""
    path = metrics_path(run_folder)
    lines = read_document(path).decode().splitlines() if path.exists() else []
    durable.write_bytes(path, "".join(f"{line}\n" for line in lines[:num_epochs]).encode())


def read_metrics(folder: Path) -> list[MetricsLine]:
    """The run's epochs; none when it has finished none, or was imported. Raises TrainingError: a line is damaged."""
    path = metrics_path(folder)
    lines = read_document(path).splitlines() if path.is_file() else []
    if path.is_file() and not lines:
        raise TrainingError(
            f"{folder}: no finished epoch here (metrics.jsonl is empty); go on with `dvs-transfer train`"
        )
    metrics: list[MetricsLine] = []
    for number, line in enumerate(lines, 1):
        try:
            metrics.append(dict(parse_json(line)))
        except (ValueError, TypeError):
            metrics.append({})
        if metrics[-1].get("epoch") != number:
            raise TrainingError(
                f"{path}: line {number} is not the record of epoch {number}; "
                "go on with `dvs-transfer train`, or delete the run"
            )
    return metrics
