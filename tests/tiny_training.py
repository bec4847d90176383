"""A workspace that is preprocessed, whose training by the command line takes a second, and what it must come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from command_line import succeed
from tiny_preprocess import make_workspace, preprocess

TRAINING = """
[model]
widths = [4, "P", 4, "P"]

[train]
epochs = 3
batch_size = 3
warmup_epochs = 1
threads = 1
deterministic = true
log_interval = 1
checkpoint_steps = 1
keep_checkpoints = 3
"""


def make_trainable(root: Path) -> Path:
    """A workspace to train in; returns `root`."""
    make_workspace(root)
    with (root / "tiny.toml").open("a") as file:
        file.write(TRAINING)
    succeed(*preprocess(root))
    return root


def train_command(root: Path, run: Path, *options: str) -> list[str | Path]:
    """The arguments of `dvs-transfer` that train in the folder `run`."""
    return ["--quiet", "--root", root, "train", "--config", root / "tiny.toml", "--run", run, *options]


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the timing."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("pairs_per_s", "data_share")} for line in lines]


def assert_same_run(found: Path, expected: Path) -> None:
    """The same losses and weights, bit for bit, and no temporary file."""
    assert metrics_of(found) == metrics_of(expected)
    for name in ("best", "last"):
        path = Path("checkpoints", f"{name}.safetensors")
        assert (found / path).read_bytes() == (expected / path).read_bytes()
    assert not list(found.rglob("*.tmp"))
