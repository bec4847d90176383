"""Recordings without labels: a step's consistency between two views of them, and statistics that follow them.

Labels of these recordings are nowhere to be read: their batches hold -1.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..batches.data import event_frames
from ..batches.loading import Batch, Loader, load
from ..batches.sampling import Sampler
from ..network.layers import BatchNormOverTime, statistics_aside
from ..network.networks import SpikingNetwork
from ..network.prediction import adapted
from .augmentation import augment
from .config import AugmentationConfig, TrainConfig
from .distributed import Processes
from .losses import consistency_loss
from .methods import MixedPrecision

MOST_ADAPTED = 50  # batches that running statistics are taken of


def consistency(network: MixedPrecision, batch: Batch, config: TrainConfig) -> Tensor:
    """The consistency loss of a batch without labels, without its weight. Running statistics do not see the batch.

    Each view is normalised with statistics of its own, as recordings are in a step.
    """
    frames, own = batch.frames.float(), config.unlabelled
    weak = AugmentationConfig(crop=config.augmentation.crop, flip=config.augmentation.flip)
    generator = batch.generator("strong view")
    draws = torch.rand(batch.augmentation.shape, generator=generator, device=frames.device)
    with statistics_aside(list(network.network.modules())):
        with torch.no_grad():
            named = network.logits(event_frames(augment(frames, batch.augmentation, weak)), "event")
        logits = network.logits(event_frames(augment(frames, draws, own.strong, generator)), "event")
    return consistency_loss(logits, named, own.threshold, config.loss)


@dataclass(frozen=True)
class Unlabelled:
    """The recordings without labels of a run, and when they are used. data: None where they are not."""

    config: TrainConfig
    sampler: Sampler
    processes: Processes
    data: Loader | None

    @classmethod
    def of(
        cls,
        split: PairedCache,
        config: TrainConfig,
        sampler: Sampler,
        network: SpikingNetwork,
        device: torch.device,
        processes: Processes,
    ) -> Unlabelled:
        """Those beside a training split.

        Raises TrainingError: there are none but the labelled ones, or nothing that could follow them.
        """
        if not config.unlabelled.is_used:
            return cls(config, sampler, processes, None)
        if len(split.unlabelled) == len(split):
            raise TrainingError(
                f"train.unlabelled needs recordings whose labels are not used, and all {len(split)} that may train are "
                "labelled: pair with pairing.train_per_class or pairing.train_share, which leave others over"
            )
        if config.unlabelled.adapt and not any(isinstance(module, BatchNormOverTime) for module in network.modules()):
            raise TrainingError(
                "train.unlabelled.adapt = true: the network has no batch norm of dvs_transfer whose running statistics "
                "could be adapted; leave it off, or use another model.name"
            )
        if config.unlabelled.strong.time_shift >= split.num_bins:
            raise TrainingError(
                f"train.unlabelled.strong.time_shift = {config.unlabelled.strong.time_shift}: expected less than the "
                f"recordings' number of time bins, {split.num_bins}"
            )
        return cls(config, sampler, processes, load(split.unlabelled, device, config.whole_placement))

    def beside(self, batches: Generator[Batch], epoch: int, first: int) -> Generator[Batch]:
        """The labelled batches of an epoch from step `first` on, each with one without labels once its time has come.

        epoch: counted from 0. Both are this process's parts.
        """
        num_steps = self.sampler.num_steps
        start = round(self.config.unlabelled.start * self.config.epochs * num_steps) - epoch * num_steps
        start = max(first, start) if self.config.unlabelled.consistency_weight > 0 else num_steps
        with ExitStack() as stack:
            stack.enter_context(closing(batches))
            yield from islice(batches, start - first)
            if self.data is not None and start < num_steps:
                shape = (num_steps, self.config.unlabelled.ratio * self.config.batch_size)
                plan = self.processes.part(self.sampler.unlabelled(epoch, len(self.data), shape))
                others = stack.enter_context(closing(self.data.batches(plan, start)))
                for batch, other in zip(batches, others, strict=True):
                    yield batch._replace(unlabelled=other)

    def adapted(self, network: SpikingNetwork, epoch: int) -> SpikingNetwork:
        """The network itself, or with `adapt` a copy whose statistics of events are those of these recordings.

        The main process makes it, which validates and keeps. Of at most `MOST_ADAPTED` batches, mixed: a store lies
        class by class, and layers normalise with the batch.
        """
        if self.data is None or not self.config.unlabelled.adapt or not self.processes.is_main:
            return network
        size = min(self.config.batch_size, len(self.data))
        plan = self.sampler.unlabelled(epoch, len(self.data), (min(MOST_ADAPTED, len(self.data) // size), size))
        with closing(self.data.batches(plan)) as batches:
            return adapted(network, (event_frames(batch.frames.float()) for batch in batches), "event")
