"""What a run keeps of itself: the epochs that count, the best of them, and the state that it can go on from.

The network that it keeps is not always the one that trains, see `KeptNetwork`.
"""

from __future__ import annotations

import copy
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...cache import durable
from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..network.config import ModelConfig
from ..network.networks import SpikingNetwork
from ..runs.checkpoint import CheckpointInfo, read_info, save_weights, weights_path
from ..runs.metrics import keep_metrics, metrics_path
from ..runs.state import Division, States, TrainingState, Weights, random_state, set_random_state
from .config import NEUTRAL_TRAIN_FIELDS, TrainConfig
from .distributed import Processes
from .methods import method_of, plugin_code
from .progress import OnMessage, TrainingProgress, epoch_metrics
from .statistics import AllStatistics, pooled, set_statistics
from .step import Learner, StepRecord
from .unlabelled import Unlabelled


@dataclass(frozen=True)
class KeptNetwork:
    """The network that validates, and that `best` and `last` hold: made of the one that trains, and of no effect on it.

    average: of what `trained` was at the start and after each step; None without `train.average`, and in all processes
    but the main one, whose network is kept.  statistics: of all processes, in the main one, where each has shards of
    its own.
    """

    config: TrainConfig
    trained: SpikingNetwork
    unlabelled: Unlabelled
    average: SpikingNetwork | None
    statistics: AllStatistics | None = None

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        trained: SpikingNetwork,
        unlabelled: Unlabelled,
        processes: Processes,
        statistics: AllStatistics | None = None,
    ) -> KeptNetwork:
        """Before the first step, or before the state of a run is taken up."""
        average = copy.deepcopy(trained).eval() if config.average > 0 and processes.is_main else None
        return cls(config, trained, unlabelled, average, statistics if processes.is_main else None)

    @torch.no_grad()
    def follow(self, num_steps: int) -> None:
        """Take in the weights and running statistics after `num_steps` steps of the run; what is whole is copied.

        Nothing here waits for the device, as torch's `AveragedModel` does, which counts the steps there.
        """
        if self.average is None:
            return
        decay = min(self.config.average, (1 + num_steps) / (10 + num_steps))
        averages, newest = (list(network.state_dict().values()) for network in (self.average, self.trained))
        pairs = list(zip(averages, newest, strict=True))
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
        real = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in real], [value for _, value in real], 1 - decay)

    def after_epoch(self, epoch: int) -> SpikingNetwork:
        """The network as it validates and is kept after an epoch, counted from 0; in the main process."""
        if self.statistics is not None:
            return self.statistics.pooled_network(self.trained)
        return self.unlabelled.adapted(self.trained if self.average is None else self.average, epoch)

    def state(self) -> Weights:
        """What `take_up` goes on with; empty without an average."""
        return {} if self.average is None else self.average.state_dict()

    def take_up(self, state: Weights) -> None:
        if self.average is not None:
            self.average.load_state_dict(state)


@dataclass
class Keeper:
    """The files of a run in progress. epoch: whole epochs that are done; accuracies: top-1 in [0, 1].

    code: digests of the user's code as it is when the run starts, which is what trains; the files may be edited since.
    """

    model: ModelConfig
    config: TrainConfig
    run_folder: Path
    split: PairedCache
    division: Division
    network: KeptNetwork
    epoch: int = 0
    best_epoch: int = 0
    best_accuracy: float | None = None
    last_accuracy: float | None = None
    saved_step: int = 0
    saved_at: float = field(default_factory=time.monotonic)
    code: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.code = plugin_code(self.model, self.config)

    @property
    def states(self) -> States:
        identity = {
            "model": self.model.model_dump(mode="json"),
            "train": self.config.model_dump(mode="json", exclude=set(NEUTRAL_TRAIN_FIELDS)),
            "cache": {"fingerprint": self.split.fingerprint, "split_digest": self.split.split_digest},
        }
        if self.code:
            identity["code"] = self.code
        folder = self.run_folder / "checkpoints"
        return States(folder, self.config.keep_checkpoints, json.dumps(identity, sort_keys=True), self.division)

    def load(self, on_message: OnMessage) -> tuple[Weights, TrainingState] | None:
        """The state that the folder holds; what was noted of later epochs is dropped.

        Raises TrainingError: the checkpoints are damaged or gone, or those of a run with other settings.
        """
        found = self.states.load(on_message)
        metrics = metrics_path(self.run_folder)
        if found is None and metrics.exists() and metrics.stat().st_size:
            raise TrainingError(
                f"{self.run_folder}: a run has left {metrics.name} here but no checkpoint to go on from; "
                "start anew with --restart"
            )
        if found is not None:
            done, step = found[1].epoch, f" and {found[1].step} steps" if found[1].step else ""
            going = "goes on after" if done < self.config.epochs else "is complete:"
            on_message(f"{self.run_folder}: {going} {done} epochs{step} of {self.config.epochs} epochs")
            if found[2] != self.division and done < self.config.epochs:
                on_message(f"{self.run_folder}: {self._redivided(found[2], found[1])}")
        keep_metrics(self.run_folder, 0 if found is None else found[1].epoch)
        return None if found is None else found[:2]

    def _redivided(self, before: Division, state: TrainingState) -> str:
        """What follows from another number of processes, or from shards of their own."""
        text = f"trained so far by {before}; from here on by {self.division}: "
        if before.sharded or self.division.sharded:
            step = f"step {state.step + 1} of epoch {state.epoch + 1}"
            return text + f"the draws change, from {step} on; the steps before are not drawn again"
        return text + (
            "recordings, images and their draws stay the same; CKA, batch norm, what is drawn on the device and which "
            "places `mixture` fills with photos follow each process's share of a batch"
        )

    def take_up(self, learner: Learner, weights: Weights, state: TrainingState) -> Tensor:
        """Put the state into the learner and the generators; returns the records of the unfinished epoch's steps."""
        learner.network.load_state_dict(weights)
        if learner.auxiliary is not None:
            learner.auxiliary.load_state_dict(state.auxiliary)
        self.network.take_up(state.average)
        if learner.statistics is not None:
            learner.statistics.take_up(state.statistics)
        elif state.statistics is not None:
            set_statistics(learner.network, pooled(state.statistics))
        learner.optimizer.load_state_dict(state.optimizer)
        set_random_state(state.random)
        self.epoch, self.saved_step = state.epoch, state.step
        self.best_epoch, self.best_accuracy = state.best_epoch, state.best_accuracy
        with suppress(TrainingError):  # of an epoch that was not committed, whose repeat may come out otherwise
            best = read_info(weights_path(self.run_folder, "best"))
            if best.epoch > state.epoch:
                self.best_epoch, self.best_accuracy = best.epoch, best.accuracy
        self.last_accuracy = state.last_accuracy
        return state.records

    def whereabouts(self, is_main: bool) -> str:
        """Where the run goes on, as said by a process that leaves it."""
        if not is_main:
            return f"the newest state is in {self.run_folder}"
        return f"the state after {self.epoch} epochs and {self.saved_step} steps is saved in {self.run_folder}"

    def is_time_to_save(self, done: int) -> bool:
        """Whether the configuration wants a state after `done` steps of the epoch."""
        steps, minutes = self.config.checkpoint_steps, self.config.checkpoint_minutes
        return (steps > 0 and done - self.saved_step >= steps) or (
            minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        )

    def save_state(self, learner: Learner, records: Tensor) -> None:
        """Keep where the run stands; records (steps done of the epoch, R)."""
        state = TrainingState(
            epoch=self.epoch,
            step=len(records),
            records=records,
            optimizer=learner.optimizer.state_dict(),
            random=random_state(),
            best_epoch=self.best_epoch,
            best_accuracy=self.best_accuracy,
            last_accuracy=self.last_accuracy,
            auxiliary={} if learner.auxiliary is None else learner.auxiliary.state_dict(),
            average=self.network.state(),
            statistics=None if learner.statistics is None else learner.statistics.values.cpu(),
        )
        self.states.save(learner.network.state_dict(), state)
        self.saved_step, self.saved_at = state.step, time.monotonic()

    def commit(self, learner: Learner, network: SpikingNetwork, progress: TrainingProgress, chooses_from: int) -> None:
        """Keep an epoch: its metrics, the weights of `network`, and last the state, which makes it count.

        network: what `KeptNetwork.after_epoch` gave. chooses_from: the first epoch, counted from 0, that may be `best`.
        """
        durable.append_json(metrics_path(self.run_folder), epoch_metrics(progress))
        best, now = self.best_accuracy, self.last_accuracy
        is_first = self.best_epoch <= chooses_from
        if self.config.select == "last" or is_first or best is None or (now is not None and now > best):
            self.best_epoch, self.best_accuracy = self.epoch, now
            save_weights(weights_path(self.run_folder, "best"), network, self._info())
        save_weights(weights_path(self.run_folder, "last"), network, self._info())
        self.save_state(learner, torch.zeros(0, len(StepRecord._fields)))

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            model=self.model,
            network_code=self.code.get("network"),
            method=self.config.method,
            class_names=self.split.class_names,
            num_steps=self.split.num_bins,
            size=self.split.size,
            epoch=self.epoch,
            selection=self.config.select,
            accuracy=self.last_accuracy,
            protocol=self.split.protocol,
            photos_in_reach=method_of(self.config).shown_photos(self.split.photos_in_reach),
            split_digest=self.split.split_digest,
            cache_fingerprint=self.split.fingerprint,
        )
