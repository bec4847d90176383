"""One run of each method and kind of network, trained for seconds, that all analyses look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import tiny_run
from tiny_split import NUM_BINS, SIZE, open_tiny_split

from dvs_transfer.stages.analysis.subject import Subject
from dvs_transfer.stages.training.config import ModelConfig
from dvs_transfer.stages.training.networks import SpikingNetwork, build_network

NETWORKS = {
    "vgg_snn": ModelConfig(name="vgg_snn", widths=(4, "P", 6, "P")),
    "vgg_snn_small": ModelConfig(name="vgg_snn_small", widths=(4, "P", 6, "P"), batch_norm="merged"),
    "resnet18": ModelConfig(name="resnet18", widths=(4, 6)),
    "scnn": ModelConfig(name="scnn", widths=(4, "P", 10)),
}


def tiny_network(model: ModelConfig, num_steps: int = NUM_BINS) -> SpikingNetwork:
    return build_network(model, num_classes=4, num_steps=num_steps, size=SIZE, seed=0).eval()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the method; tests that write take a copy."""
    folder = tmp_path_factory.mktemp("analysed") / "run"
    tiny_run.train(folder, tiny_run.changed(epochs=6))
    return folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "run"))


def subject_of(network: SpikingNetwork, split: str = "validation") -> Subject:
    """A network with all recordings of a tiny split."""
    import numpy as np

    tiny = open_tiny_split(split)
    return Subject(
        network=network,
        info=None,  # type: ignore[arg-type]
        training=None,
        split=tiny,  # type: ignore[arg-type]
        rows=np.arange(len(tiny)),
        device=torch.device("cpu"),
        folder=Path("nowhere"),
        fingerprint="",
    )
