"""Weights that outlive a run.

`<run>/checkpoints/best.safetensors`, `last.safetensors`: the network, with a `CheckpointInfo` in the header.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from safetensors import SafetensorError, safe_open

from ...cache import durable
from ...cache.digests import file_digest
from ...cache.documents import Frozen, parse_json
from ...cache.errors import TrainingError
from ...cache.pairs import Reach
from ..network.config import ModelConfig

# torch, which takes seconds, comes where weights are read or written: their names and digests need none of it.
if TYPE_CHECKING:
    import torch

    from ...cache.paired import PairedCache
    from ..network.networks import SpikingNetwork

logger = logging.getLogger(__name__)

_METADATA_KEY = "dvs_transfer"
MAX_POOLS = 64  # more halvings than a frame can have

CheckpointName = Literal["best", "last"]


class CheckpointInfo(Frozen):
    """What weights are for and where they come from: enough to build the network, and to judge a result."""

    model: ModelConfig
    method: str
    class_names: tuple[str, ...]
    num_steps: int = Field(ge=1, description="time steps T")
    size: int = Field(ge=1, description="height and width of a frame, pixels")
    epoch: int = Field(description="epochs trained")
    selection: str = Field(description="how the `best` epoch is chosen")
    accuracy: float | None = Field(description="top-1 on the split that selects, in [0, 1]; none: no such split")
    protocol: str
    photos_in_reach: Reach | None = Field(None, description="of held-out recordings; none of earlier versions' weights")
    split_digest: str
    cache_fingerprint: str
    network_code: str | None = Field(None, description="digest of a user's network's code; none: of this package")

    def photos_in_reach_of(self, split: PairedCache) -> Reach:
        """Whether photos of held-out recordings, or these themselves, may have taught. split: of the same data."""
        if self.photos_in_reach is not None:
            return self.photos_in_reach
        if self.protocol == "unknown":
            return "unknown"
        return "none" if self.method == "events" else split.photos_in_reach


def weights_path(run_folder: Path, name: CheckpointName) -> Path:
    return run_folder / "checkpoints" / f"{name}.safetensors"


def changed_weights(run_folder: Path, digests: Mapping[CheckpointName, str | None]) -> Path | None:
    """A file of weights that does not hold what gave a kept result: such a result is not current.

    digests: of each file that gave it; None: not known, so any weights count as others. One that is gone did not
    change.
    """
    paths = {weights_path(run_folder, name): digest for name, digest in digests.items()}
    return next((path for path, digest in paths.items() if path.is_file() and file_digest(path) != digest), None)


def weights_digest(run_folder: Path, name: CheckpointName) -> str:
    """Tells the weights of a run from others. Raises TrainingError when there are none."""
    require_weights(path := weights_path(run_folder, name))
    return file_digest(path)


def has_other_weights(run_folder: Path, name: CheckpointName, digest: str | None, epoch: int) -> bool:
    """Whether a file of weights is there, and not the one that gave a kept result.

    digest: of that one; None: not known, of an earlier version's result. Then the epoch is all that tells.
    """
    path = weights_path(run_folder, name)
    if digest is None:
        return path.is_file() and read_info(path).epoch != epoch
    return changed_weights(run_folder, {name: digest}) is not None


def save_weights(path: Path, network: SpikingNetwork, info: CheckpointInfo) -> None:
    """Write the network's parameters and running statistics to `path`."""
    import safetensors.torch

    tensors = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
    document = info.model_dump_json(exclude={"network_code"} if info.network_code is None else None)
    durable.write_bytes(path, safetensors.torch.save(tensors, {_METADATA_KEY: document}))


def require_weights(path: Path) -> None:
    """Raises TrainingError when there are no weights at `path`."""
    if path.stem == "last" and not path.exists() and path.with_stem("best").is_file():
        raise TrainingError(f"{path}: no such checkpoint; imported weights are one checkpoint, which is called best")
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; train first, or name the run folder of a training run")


def read_info(path: Path) -> CheckpointInfo:
    """What the weights in `path` are. Raises TrainingError: no such file, a damaged one, other contents."""
    return _read(path, "np")[0]


def _read(path: Path, framework: Literal["np", "pt"]) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    """What the weights are and, for "pt", these: of one file, also where another one takes its place meanwhile."""
    require_weights(path)
    try:
        with safe_open(path, framework=framework) as file:
            document = parse_json((file.metadata() or {})[_METADATA_KEY].encode())
            document["model"].setdefault("running_statistics", "shared")  # of weights from before there were two ways
            info = CheckpointInfo.model_validate(document)
            return info, {} if framework == "np" else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path}: not a checkpoint of dvs-transfer, or damaged ({error}); train again") from error


def load_weights(path: Path, device: torch.device) -> tuple[SpikingNetwork, CheckpointInfo]:
    """The network of `path` in evaluation mode. Raises TrainingError: no such file, a damaged one, other contents.

    Warns where a user's network has other code than when it was trained.
    """
    from ..network.networks import build_network, code_of

    info, tensors = _read(path, "pt")
    shape = {"num_classes": len(info.class_names), "num_steps": info.num_steps, "size": info.size}
    _require_fit(path, info.model, shape, tensors)
    network = build_network(info.model, **shape, seed=0)
    network.load_state_dict(tensors)
    if info.network_code not in (None, code_of(info.model)):
        logger.warning(
            "%s: the code of %s has changed since these weights were trained, and may compute something else than what "
            "was trained: bring that code back, or train again",
            path,
            info.model.name,
        )
    return network.to(device).eval(), info


def _require_fit(path: Path, model: ModelConfig, shape: dict[str, int], tensors: dict[str, torch.Tensor]) -> None:
    """Raise TrainingError unless the tensors are those of this network; of a network that takes no memory, since a
    damaged file may name any size (but for a user's network that cannot be made so)."""
    import torch

    from ..network.networks import build_network, code_of

    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(model.layers) > len(tensors) + MAX_POOLS:
        raise TrainingError(f"{path}: names {len(model.layers)} layers and holds {len(tensors)} tensors; train again")
    try:
        with torch.device("meta"):
            network = build_network(model, **shape, seed=0)
    except (RuntimeError, TypeError, OverflowError) as error:  # a side that is no 64-bit number, for example
        if code_of(model) is None:
            raise TrainingError(f"{path}: names a network that is impossible ({error}); train again") from error
        network = build_network(model, **shape, seed=0)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if found != expected:
        differing = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
        raise TrainingError(
            f"{path}: its weights do not fit the network that it names: {differing[0]} has the shape "
            f"{found.get(differing[0])}, expected {expected.get(differing[0])} ({len(differing)} differ); train again"
        )


def require_same_data(info: CheckpointInfo, split: PairedCache, run_folder: Path) -> None:
    """Raise TrainingError unless the weights were trained on the split's data.

    Of another split, the test recordings may have been trained on.
    """
    trained = (info.split_digest, info.class_names, info.num_steps, info.size)
    if trained != (split.split_digest, split.class_names, split.num_bins, split.size):
        raise TrainingError(
            f"{run_folder}: trained on split {info.split_digest} ({len(info.class_names)} classes, "
            f"{info.num_steps} bins, {info.size} x {info.size}); found split {split.split_digest} "
            f"({split.num_classes} classes, {split.num_bins} bins, {split.size} x {split.size}): "
            f"evaluate with the cache that the run was trained on"
        )
