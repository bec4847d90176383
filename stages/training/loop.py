"""Training, read from the top: set up, fit epoch by epoch, validate, keep the weights.

Losses and accuracies follow from configuration and data alone; an interrupted run goes on where its newest state is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache import durable
from ...cache.errors import TrainingError
from ..batches.data import OpenSplit, PairedSplit, SplitName, event_frames, read_events
from ..batches.loading import Loader, WaitClock, load
from ..batches.sampling import EpochPlan, Sampler
from ..network.config import ModelConfig
from ..network.networks import build_network, num_parameters
from ..network.prediction import accuracy, firing_rates, predict
from ..network.runtime import has_native_bfloat16, select_device, torch_settings
from ..runs.checkpoint import CheckpointInfo, save_weights, weights_path
from ..runs.folder import only_one_trains
from ..runs.metrics import keep_metrics, metrics_path
from ..runs.state import States, TrainingState, random_state, set_random_state
from ..runs.stints import stint_noted
from .config import NEUTRAL_TRAIN_FIELDS, TrainConfig
from .distributed import Processes, join
from .observing import OnMessage, OnProgress, TensorBoard, TrainingProgress, TrainingReport, epoch_metrics
from .schedule import learning_rate
from .sliding import SlidingStrategy, sliding_strategy
from .step import Learner, StepRecord, decay_groups
from .stopping import StopSignals, TrainingStoppedError

_NUM_VALUES = len(StepRecord._fields)


def run(
    model: ModelConfig,
    config: TrainConfig,
    open_split: OpenSplit,
    run_folder: Path,
    *,
    resolved: Mapping[str, Any] | None = None,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
    on_message: OnMessage = lambda message: None,
) -> TrainingReport:
    """Train a network, or go on with the run that `run_folder` holds; `restart` deletes that one first.

    Writes `config.json` (`resolved`, or the two configurations), `metrics.jsonl`, `stints.json` and `checkpoints/`.
    Raises TrainingError: data that cannot be trained on, a run folder of other settings or in use, damaged
    checkpoints, a loss that is not finite. TrainingStoppedError: after SIGTERM or Ctrl-C, with the state saved.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(torch_settings(threads=config.threads, deterministic=config.deterministic))
        processes, device = stack.enter_context(join(select_device(config.device)))
        training = _Training.set_up(model, config, open_split, run_folder, device, processes)
        if processes.is_main:
            stack.enter_context(only_one_trains(run_folder, restart=restart, on_message=on_message))
        else:
            on_progress, on_message = (lambda progress: None), (lambda message: None)
        if config.precision == "bfloat16" and not has_native_bfloat16(device):
            on_message(f"train.precision = bfloat16 is slow here: {device} has no bfloat16 products; float32 is faster")
        if training.sampler.note:
            on_message(training.sampler.note)
        resumed_after, resumed_steps = training.resume(on_message)
        if processes.is_main:
            document = {"model": model.model_dump(), "train": config.model_dump()}
            durable.write_json(run_folder / "config.json", document if resolved is None else dict(resolved))
        if config.tensorboard and processes.is_main:
            board = TensorBoard(run_folder, resumed_after * training.sampler.num_steps + resumed_steps + 1)
            on_progress = stack.enter_context(board).beside(on_progress)
        if processes.is_main and training.epoch < config.epochs:
            stack.enter_context(stint_noted(run_folder, device, processes.count, resumed_after))
        training.fit(on_progress)
    return TrainingReport(
        epochs=config.epochs,
        resumed_after=resumed_after,
        resumed_steps=resumed_steps,
        best_epoch=training.best_epoch,
        best_accuracy=training.best_accuracy,
        last_accuracy=training.last_accuracy,
        selection_split=training.selection_split,
        num_parameters=num_parameters(training.learner.network),
        num_recordings=len(training.split),
        num_images=training.data.num_images,
        protocol=training.split.protocol,
        photos_in_reach=config.shown_photos(training.split.photos_in_reach),
        split_digest=training.split.split_digest,
        data_placement=training.data.placement,
        device=str(device) if processes.count == 1 else f"{processes.count} x {device.type}",
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Training:
    """A run in progress. `records` (step, R): `StepRecord`s of the steps that the epoch has done, on the CPU.

    shown (B, T, 2, H, W): the recordings whose firing rates are told, of all classes.
    """

    model: ModelConfig
    config: TrainConfig
    run_folder: Path
    device: torch.device
    processes: Processes
    split: PairedSplit
    sampler: Sampler
    sliding: SlidingStrategy
    data: Loader
    learner: Learner
    selection_split: str | None
    selection: Loader | None
    shown: Tensor
    epoch: int = 0
    records: Tensor = field(default_factory=lambda: torch.zeros(0, _NUM_VALUES))
    best_epoch: int = 0
    best_accuracy: float | None = None
    last_accuracy: float | None = None
    saved_step: int = 0
    saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def set_up(
        cls,
        model: ModelConfig,
        config: TrainConfig,
        open_split: OpenSplit,
        run_folder: Path,
        device: torch.device,
        processes: Processes,
    ) -> _Training:
        processes.check_batch_size(config.batch_size)
        split = open_split("train")
        sampler = Sampler(split, config)
        selection_split: SplitName = "test" if config.select == "test_as_released" else "validation"
        selected = open_split(selection_split)
        if not len(selected) and config.select != "last":
            raise TrainingError(
                f"train.select = {config.select} needs recordings in the {selection_split} split, and it has none: "
                f"pair with a {selection_split} share, or set train.select = last"
            )
        network = build_network(
            model, num_classes=split.num_classes, num_steps=split.num_bins, size=split.size, seed=config.seed
        ).to(device)
        with torch.no_grad():
            network.coefficients.fill_(config.loss.initial_coefficient)
        network.backbone.recompute = config.recompute
        learner = Learner(
            config=config,
            network=network,
            optimizer=torch.optim.AdamW(decay_groups(network, config.weight_decay), fused=True),
            processes=processes,
        )
        shown = selected if len(selected) else split
        return cls(
            model=model,
            config=config,
            run_folder=run_folder,
            device=device,
            processes=processes,
            split=split,
            sampler=sampler,
            sliding=sliding_strategy(config),
            data=load(split, device, config.data_placement, None if config.method == "events" else config.encoding),
            learner=learner,
            selection_split=selection_split if len(selected) else None,
            selection=load(selected, device) if len(selected) else None,
            shown=torch.from_numpy(read_events(shown, _spread_rows(len(shown), config.batch_size))).to(device),
        )

    def resume(self, on_message: OnMessage) -> tuple[int, int]:
        """Take up the run that the folder holds; returns the whole epochs, and steps of the next, that it has done."""
        found = self.processes.from_main(self._load_state(on_message) if self.processes.is_main else None)
        if found is None:
            if self.processes.is_main:
                self._save_state()
            return 0, 0
        weights, state = found
        self.learner.network.load_state_dict(weights)
        self.learner.optimizer.load_state_dict(state.optimizer)
        set_random_state(state.random)
        self.epoch, self.records, self.saved_step = state.epoch, state.records, state.step
        self.best_epoch, self.best_accuracy = state.best_epoch, state.best_accuracy
        self.last_accuracy = state.last_accuracy
        return state.epoch, state.step

    def _load_state(self, on_message: OnMessage) -> tuple[dict[str, Tensor], TrainingState] | None:
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
        keep_metrics(self.run_folder, 0 if found is None else found[1].epoch)
        return found

    def fit(self, on_progress: OnProgress) -> None:
        """Train the epochs that are left. Raises TrainingStoppedError after SIGTERM or Ctrl-C."""
        with StopSignals(hold=self.processes.count > 1) as signals:
            while self.epoch < self.config.epochs:
                self._train_epoch(signals, on_progress)
                number = self.processes.highest(signals.received, self.device)
                if number and self.epoch < self.config.epochs:
                    raise TrainingStoppedError(self.run_folder, number)

    def _train_epoch(self, signals: StopSignals, on_progress: OnProgress) -> None:
        """Train what is left of an epoch, validate, and commit it."""
        rate = learning_rate(self.config, self.epoch)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        plan = self.sampler.plan(self.epoch)
        values = torch.zeros(len(plan), _NUM_VALUES, device=self.device)
        first, clock = len(self.records), WaitClock(self.device)
        told = first  # steps up to the last report

        def tell(done: int, records: Tensor, **more: Any) -> TrainingProgress:
            pairs_per_s = (done - first) * self.config.batch_size / (time.perf_counter() - clock.began)
            return self._progress(done, records, rate, pairs_per_s, **more)

        self.learner.network.train()
        with closing(self.data.batches(self.processes.part(plan), first)) as batches:
            for step, batch in enumerate(clock.timed(batches), first):
                values[step] = self.learner.step(batch, self._sliding_probability(step))
                done = step + 1
                if done < len(plan):
                    at_interval = done % self.config.log_interval == 0
                    if at_interval:
                        self._read(values, done, plan)
                        on_progress(tell(done, self.records[told:], data_share=clock.share()))
                        told = done
                    if at_interval or self.processes.count == 1:
                        self._save_or_stop(signals, values, done, plan)
        self._read(values, len(plan), plan)
        self._check_weights(plan)
        data_share = clock.share()  # before validation, which has data of its own
        progress = tell(len(plan), self.records, data_share=data_share, ends_epoch=True, **self._validate())
        self.epoch, self.records = self.epoch + 1, torch.zeros(0, _NUM_VALUES)
        if self.epoch == self.config.num_pretrain_epochs:
            self.learner.optimizer.state.clear()  # fine-tuning starts with a new optimiser
        if self.processes.is_main:
            self._commit(progress)
        on_progress(progress)

    def _save_or_stop(self, signals: StopSignals, values: Tensor, done: int, plan: EpochPlan) -> None:
        """Save the state in mid-epoch if a signal came or it is time, and then leave if a signal came."""
        wish = self.processes.highest(signals.received or int(self._is_time_to_save(done)), self.device)
        if not wish:
            return
        self._read(values, done, plan)
        self._check_weights(plan)
        if self.processes.is_main:
            self._save_state()
        self.saved_step = done
        if wish > 1:
            raise TrainingStoppedError(self.run_folder, wish)

    def _is_time_to_save(self, done: int) -> bool:
        steps, minutes = self.config.checkpoint_steps, self.config.checkpoint_minutes
        return (steps > 0 and done - self.saved_step >= steps) or (
            minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes
        )

    def _sliding_probability(self, step: int) -> float:
        num_steps = self.sampler.num_steps
        return self.sliding((step + self.epoch * num_steps) / (self.config.epochs * num_steps))

    def _read(self, values: Tensor, done: int, plan: EpochPlan) -> None:
        """Fetch the records of the steps up to `done` that were not fetched yet, and check that they are finite."""
        first = len(self.records)
        if done == first:
            return
        new = self.processes.mean(values[first:done]).cpu()
        broken = (~new.isfinite()).any(1).nonzero()
        if len(broken):
            row = int(broken[0])
            named = ", ".join(f"{k} {v:g}" for k, v in zip(StepRecord._fields, new[row].tolist(), strict=True))
            self._stop_not_finite(f"the loss or its gradient ({named})", first + row, plan)
        self.records = torch.cat([self.records, new])

    def _check_weights(self, plan: EpochPlan) -> None:
        """A loss and a gradient that are finite can still make a weight that is not."""
        weights = self.learner.network.state_dict().values()
        if not bool(torch.stack([weight.isfinite().all() for weight in weights]).all()):
            self._stop_not_finite("a weight", len(self.records) - 1, plan)

    def _stop_not_finite(self, what: str, step: int, plan: EpochPlan) -> NoReturn:
        ids = ", ".join(self.split.sample_ids[i] for i in plan.recordings[step].tolist())
        raise TrainingError(
            f"{what} is not finite in step {step + 1} of epoch {self.epoch + 1}; the last good checkpoint is kept: "
            f"{self.states.newest()}. Lower train.base_learning_rate, or look at the batch's recordings: {ids}"
        )

    def _validate(self) -> dict[str, Any]:
        """Accuracy and firing rates at an epoch's end; the main process measures them."""
        if not self.processes.is_main:
            return {}
        network, seen = self.learner.network, self.selection
        if seen is not None:
            self.last_accuracy = accuracy(predict(network, seen, self.config.batch_size), seen.labels)
        rates = firing_rates(network, event_frames(self.shown.float()))
        return {"selection_accuracy": self.last_accuracy, "firing_rates": rates}

    def _progress(self, done: int, records: Tensor, rate: float, pairs_per_s: float, **more: Any) -> TrainingProgress:
        means = dict(zip(StepRecord._fields, records.double().mean(0).tolist(), strict=True))
        learned = self.config.method == "transfer" and self.config.loss.regularization == "learned"
        num_steps = self.sampler.num_steps
        steps_left = (self.config.epochs - self.epoch) * num_steps - done
        return TrainingProgress(
            epoch=self.epoch + 1,
            num_epochs=self.config.epochs,
            step=done,
            num_steps=num_steps,
            loss=means["total"],
            loss_static=means["static"],
            loss_event=means["event"],
            loss_alignment=means["alignment"],
            grad_norm=means["grad_norm"],
            train_accuracy=means["accuracy"],
            w_t=tuple(self.learner.network.coefficients.detach().sigmoid().tolist()) if learned else None,
            learning_rate=rate,
            sliding_probability=self._sliding_probability(done - 1),
            pairs_per_s=pairs_per_s,
            seconds_left=steps_left * self.config.batch_size / pairs_per_s,
            **more,
        )

    def _commit(self, progress: TrainingProgress) -> None:
        """Keep an epoch: its metrics, its weights, and last the state, which makes it count."""
        metrics = epoch_metrics(progress, self.selection_split or "validation")
        durable.append_json(metrics_path(self.run_folder), metrics)
        best, now = self.best_accuracy, self.last_accuracy
        is_first = self.best_epoch <= self.config.num_pretrain_epochs  # none of images alone is chosen
        if self.config.select == "last" or is_first or best is None or (now is not None and now > best):
            self.best_epoch, self.best_accuracy = self.epoch, now
            save_weights(weights_path(self.run_folder, "best"), self.learner.network, self._info())
        save_weights(weights_path(self.run_folder, "last"), self.learner.network, self._info())
        self._save_state()

    def _save_state(self) -> None:
        state = TrainingState(
            epoch=self.epoch,
            step=len(self.records),
            records=self.records,
            optimizer=self.learner.optimizer.state_dict(),
            random=random_state(),
            **{name: getattr(self, name) for name in ("best_epoch", "best_accuracy", "last_accuracy")},
        )
        self.states.save(self.learner.network.state_dict(), state)
        self.saved_step, self.saved_at = state.step, time.monotonic()

    @property
    def states(self) -> States:
        identity = {
            "model": self.model.model_dump(mode="json"),
            "train": self.config.model_dump(mode="json", exclude=set(NEUTRAL_TRAIN_FIELDS)),
            "cache": {"fingerprint": self.split.fingerprint, "split_digest": self.split.split_digest},
            "processes": self.processes.count,
        }
        folder = self.run_folder / "checkpoints"
        return States(folder, self.config.keep_checkpoints, json.dumps(identity, sort_keys=True))

    def _info(self) -> CheckpointInfo:
        return CheckpointInfo(
            model=self.model,
            method=self.config.method,
            class_names=self.split.class_names,
            num_steps=self.split.num_bins,
            size=self.split.size,
            epoch=self.epoch,
            selection=self.config.select,
            accuracy=self.last_accuracy,
            protocol=self.split.protocol,
            photos_in_reach=self.config.shown_photos(self.split.photos_in_reach),
            split_digest=self.split.split_digest,
            cache_fingerprint=self.split.fingerprint,
        )


def _spread_rows(num_rows: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of `num_rows` rows, evenly spread: a split lies class by class."""
    count = min(limit, num_rows)
    return np.arange(count) * num_rows // max(1, count)
