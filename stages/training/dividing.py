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


def open_data(
    split: PairedCache,
    config: TrainConfig,
    encoding: Encoding | None,
    device: torch.device,
    processes: Processes,
    was_sharded: bool | None,
) -> tuple[Sampler, Loader]:
    """What draws, and what this process has of the training split and, with `encoding`, of its static pool.

    was_sharded: whether the run, if it goes on, had the split in shards when it trained last.
    """
    if not _is_sharded(split, config, encoding, device, processes, was_sharded):
        sampler = Sampler(split, config, uses_images=encoding is not None)
        return sampler, load(split, device, config.whole_placement, encoding)
    if config.average or config.unlabelled.is_used:
        name = "train.average" if config.average else "train.unlabelled"
        raise TrainingError(
            f"{name} needs the whole split in each process: leave it off, or use another train.data_placement than "
            "sharded (streamed needs no room)"
        )
    sharded = ShardedSampler(split, config, processes.count, encoding)
    return sharded, PartLoader.of(sharded.parts[processes.rank], device, encoding)


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
