"""The run's diary, `metrics.jsonl`: one JSON object for each epoch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...cache import durable

MetricsLine = dict[str, Any]


def metrics_path(run_folder: Path) -> Path:
    return run_folder / "metrics.jsonl"


def append_metrics(run_folder: Path, line: MetricsLine) -> None:
    """Add one line and flush it to the disk."""
    with metrics_path(run_folder).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def keep_metrics(run_folder: Path, num_epochs: int) -> None:
    """Drop what was written after epoch `num_epochs`: epochs that a killed run did not finish, and half a line."""
    path = metrics_path(run_folder)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    durable.write_bytes(path, "".join(f"{line}\n" for line in lines[:num_epochs]).encode())
