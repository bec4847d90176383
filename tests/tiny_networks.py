"""Every kind of network, small, untrained and in evaluation mode; and run folders that hold such a one."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_split import CLASS_NAMES, NUM_BINS, SIZE, open_tiny_split

from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.networks import SpikingNetwork, build_network
from dvs_transfer.stages.runs.checkpoint import CheckpointInfo, save_weights, weights_path
from dvs_transfer.stages.training.config import TrainConfig

NETWORKS = {
    "vgg_snn": ModelConfig(name="vgg_snn", widths=(4, "P", 6, "P")),
    "vgg_snn_small": ModelConfig(name="vgg_snn_small", widths=(4, "P", 6, "P"), batch_norm="merged"),
    "resnet18": ModelConfig(name="resnet18", widths=(4, 6)),
    "scnn": ModelConfig(name="scnn", widths=(4, "P", 10)),
}


def tiny_network(model: ModelConfig, *, num_steps: int = NUM_BINS, size: int = SIZE, seed: int = 0) -> SpikingNetwork:
    return build_network(model, num_classes=4, num_steps=num_steps, size=size, seed=seed).eval()


def write_run(
    folder: Path, model: ModelConfig, method: str = "transfer", seed: int = 1, encoding: str = "grey"
) -> Path:
    """A run folder on `tiny_split` with untrained weights and two epochs of metrics; or of imported weights."""
    split = open_tiny_split("train")
    info = CheckpointInfo(
        model=model,
        method=method,
        class_names=CLASS_NAMES,
        num_steps=NUM_BINS,
        size=SIZE,
        epoch=2,
        selection="validation",
        accuracy=None,
        protocol=split.protocol,
        split_digest=split.split_digest,
        cache_fingerprint=split.fingerprint,
    )
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        save_weights(weights_path(folder, name), tiny_network(model, seed=seed), info)
    if method == "imported":
        (folder / "config.json").write_text(json.dumps({"imported": "x.pth.tar", "pairs": "x.zarr"}))
        return folder
    train = TrainConfig(method=method, epochs=2, seed=seed, encoding=encoding)
    (folder / "config.json").write_text(json.dumps({"train": train.model_dump(mode="json")}))
    w_t = [0.5, 0.6, 0.7] if method == "transfer" else None
    lines = [{"epoch": epoch, "w_t": w_t, "sliding_probability": epoch / 2} for epoch in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
