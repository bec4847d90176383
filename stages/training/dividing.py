"""Whether each of several processes trains on shards of its own, and then the draws and the data of each."""

from __future__ import annotations

import torch

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..batches.data import Encoding
from ..batches.loading import Loader, choose_placement, load, num_bytes
from ..batches.parts import PartLoader, ShardedSampler, shards_of_recordings
from ..batches.sampling import Sampler
from .config import TrainConfig
from .distributed import Processes


def sampler_of(
    split: PairedCache,
    config: TrainConfig,
    encoding: Encoding | None,
    device: torch.device,
    processes: Processes,
    was_sharded: bool | None,
) -> Sampler:
    """What draws from the training split and, with `encoding`, from its static pool; for shards a `ShardedSampler`.

    was_sharded: whether the run, if it goes on, had the split in shards when it trained last.
    """
    if not _is_sharded(split, config, encoding, device, processes, was_sharded):
        return Sampler(split, config, uses_images=encoding is not None)
    if config.average or config.unlabelled.is_used:
        name = "train.average" if config.average else "train.unlabelled"
        raise TrainingError(
            f"{name} needs the whole split in each process: leave it off, or use another train.data_placement than "
            "sharded (streamed needs no room)"
        )
    return ShardedSampler(split, config, processes.count, encoding)


def load_for(
    sampler: Sampler,
    split: PairedCache,
    config: TrainConfig,
    encoding: Encoding | None,
    device: torch.device,
    processes: Processes,
) -> Loader:
    """What this process needs for the sampler's plans."""
    if isinstance(sampler, ShardedSampler):
        return PartLoader.of(split, sampler.parts[processes.rank], device, encoding)
    return load(split, device, config.whole_placement, encoding)


def _is_sharded(
    split: PairedCache,
    config: TrainConfig,
    encoding: Encoding | None,
    device: torch.device,
    processes: Processes,
    was_sharded: bool | None,
) -> bool:
    """The same in all processes. With "auto" a run that goes on stays as it was: its draws depend on it."""
    if processes.count == 1 or config.data_placement != "auto":
        return processes.count > 1 and config.data_placement == "sharded"
    if was_sharded is not None:
        return was_sharded
    needs_whole = config.average > 0 or config.unlabelled.is_used
    has_room = choose_placement(num_bytes(split, encoding), device) != "streamed"
    if not processes.highest(int(not has_room), device):
        return False
    return not needs_whole and int(shards_of_recordings(split).max()) + 1 >= processes.count
