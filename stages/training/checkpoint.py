"""Weights that outlive a run (safetensors), and the state that lets an interrupted run go on.

`<run>/checkpoints/best.safetensors`, `last.safetensors`: the network, with a `CheckpointInfo` in the header.
`<run>/checkpoints/state.pt`: network, optimiser and position, complete in itself; written last, it commits an epoch.
Every file is written aside, flushed and renamed.
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...cache import durable
from ...cache.errors import TrainingError
from .config import ModelConfig
from .networks import SpikingVGG, build_network

_METADATA_KEY = "dvs_transfer"

CheckpointName = Literal["best", "last"]


class CheckpointInfo(BaseModel):
    """What weights are for and where they come from: enough to build the network, and to judge a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    method: str
    class_names: tuple[str, ...]
    num_steps: int = Field(description="time steps T")
    size: int = Field(description="height and width of a frame, pixels")
    epoch: int = Field(description="epochs trained")
    selection: str = Field(description="how the `best` epoch is chosen")
    accuracy: float | None = Field(description="top-1 on the split that selects, in [0, 1]; none: no such split")
    protocol: str
    split_digest: str
    cache_fingerprint: str


@dataclass
class TrainingState:
    """Where a run stands after `epoch` epochs. `identity`: what it was started with, as JSON."""

    epoch: int
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    best_epoch: int
    best_accuracy: float | None
    last_accuracy: float | None
    identity: str


def weights_path(run_folder: Path, name: CheckpointName) -> Path:
    return run_folder / "checkpoints" / f"{name}.safetensors"


def state_path(run_folder: Path) -> Path:
    return run_folder / "checkpoints" / "state.pt"


def save_weights(path: Path, network: SpikingVGG, info: CheckpointInfo) -> None:
    """Write the network's parameters and running statistics to `path`."""
    tensors = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
    durable.write_bytes(path, safetensors.torch.save(tensors, {_METADATA_KEY: info.model_dump_json()}))


def load_weights(path: Path, device: torch.device) -> tuple[SpikingVGG, CheckpointInfo]:
    """The network of `path` in evaluation mode. Raises TrainingError: no such file, a damaged one, other contents."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; train first, or name the run folder of a training run")
    try:
        with safe_open(path, framework="pt") as file:
            info = CheckpointInfo.model_validate_json((file.metadata() or {})[_METADATA_KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, ValidationError) as error:
        raise TrainingError(f"{path}: not a checkpoint of dvs-transfer, or damaged ({error}); train again") from error
    num_classes = len(info.class_names)
    network = build_network(info.model, num_classes=num_classes, num_steps=info.num_steps, size=info.size, seed=0)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainingError(f"{path}: its weights do not fit the network that it names: {error}") from error
    return network.to(device).eval(), info


def save_state(path: Path, state: TrainingState) -> None:
    buffer = io.BytesIO()
    torch.save(vars(state), buffer)
    durable.write_bytes(path, buffer.getbuffer())


def load_state(path: Path, device: torch.device) -> TrainingState | None:
    """The state at `path`, None where there is none. Nothing in the file is executed. Raises TrainingError: damaged."""
    if not path.exists():
        return None
    content = io.BytesIO(path.read_bytes())
    try:
        return TrainingState(**torch.load(content, map_location=device, weights_only=True))
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path}: damaged, the run cannot go on from it; delete the run folder to start anew"
        ) from error


def check_identity(path: Path, found: str, expected: str) -> None:
    """Raise TrainingError, naming every difference, unless the run at `path` was started with the same settings."""
    if found == expected:
        return
    there, here = _flatten(json.loads(found)), _flatten(json.loads(expected))
    differences = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    raise TrainingError(
        f"{path}: belongs to a run with other settings ({'; '.join(differences)}); "
        f"choose another run folder or delete this one"
    )


def _flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
