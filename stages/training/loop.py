"""Training, read from the top: set up, fit epoch by epoch, validate, keep the weights.

Losses and accuracies follow from configuration and data alone; an interrupted run goes on where its newest state is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache import durable
from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..batches.data import OpenSplit
from ..batches.loading import Loader, WaitClock
from ..batches.parts import ShardedSampler
from ..batches.sampling import Sampler
from ..network.config import ModelConfig
from ..network.networks import SpikingNetwork, build_network, num_parameters
from ..network.runtime import has_native_bfloat16, select_device, torch_settings
from ..runs.folder import only_one_trains
from ..runs.history import period_noted, read_history
from ..runs.state import Division
from .camera import camera_of
from .config import TrainConfig
from .distributed import Processes, ProcessesLostError, join
from .dividing import load_for, sampler_of
from .finite import EpochRecords
from .keeping import Keeper, KeptNetwork
from .methods import Method, auxiliary_of, method_of
from .progress import OnMessage, OnProgress, TrainingProgress, TrainingReport
from .schedule import learning_rate
from .sliding import SlidingStrategy, probability_at
from .statistics import AllStatistics
from .step import Learner, StepRecord, all_trained, decay_groups
from .stopping import StopSignals, TrainingStoppedError
from .trackers import tracked
from .unlabelled import Unlabelled
from .validation import Validation


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
    Raises TrainingError: data that cannot be trained on, a method or a sliding strategy that cannot be used, a run
    folder of other settings or in use, damaged checkpoints, a loss that is not finite, another process of the run that
    ended. TrainingStoppedError: after SIGTERM or Ctrl-C, with the state saved.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(torch_settings(threads=config.threads, deterministic=config.deterministic))
        processes, device = stack.enter_context(join(select_device(config.device)))
        history = read_history(run_folder) if processes.count > 1 and processes.is_main and not restart else ()
        was_sharded = processes.from_main(history[-1].data_placement == "sharded" if history else None)
        training = _Training.set_up(model, config, open_split, run_folder, device, processes, was_sharded)
        kept, data = training.kept, training.data
        if processes.is_main:
            stack.enter_context(only_one_trains(run_folder, restart=restart, on_message=on_message))
        else:
            on_progress, on_message = (lambda progress: None), (lambda message: None)
        if config.precision == "bfloat16" and not has_native_bfloat16(device):
            on_message(f"train.precision = bfloat16 is slow here: {device} has no bfloat16 products; float32 is faster")
        if training.sampler.note:
            on_message(training.sampler.note)
        shortest = min(map(len, training.method.phases()))
        if config.warmup_epochs >= shortest:
            part = "" if shortest == config.epochs else f" that a part of the training has ({config.method})"
            on_message(
                f"train.warmup_epochs = {config.warmup_epochs} of {shortest} epochs{part}: the learning rate rises to "
                f"the end and never reaches its peak; set fewer, for example train.warmup_epochs={shortest // 10}"
            )
        if training.unlabelled.data is not None:
            on_message(f"train.unlabelled: {len(training.unlabelled.data):,} recordings are seen without labels")
        is_new = not training.resume(on_message)
        resumed_after, resumed_steps = kept.epoch, len(training.unfinished)
        if processes.is_main:
            document = dict(resolved or {"model": model.model_dump(), "train": config.model_dump()})
            durable.write_json(run_folder / "config.json", document)
            done = resumed_after, resumed_after * training.sampler.num_steps + resumed_steps
            telling = tracked(config, run_folder, document, done, on_progress, on_message)
            on_progress = stack.enter_context(telling)
        if processes.is_main and kept.epoch < config.epochs:
            noted = period_noted(run_folder, device, processes.count, resumed_after, data.placement)
            stack.enter_context(noted)
        if is_new:
            training.prepare(on_message)
        training.fit(on_progress)
    return TrainingReport(
        epochs=config.epochs,
        resumed_after=resumed_after,
        resumed_steps=resumed_steps,
        best_epoch=kept.best_epoch,
        best_accuracy=kept.best_accuracy,
        last_accuracy=kept.last_accuracy,
        selection_split=config.selection_split if kept.last_accuracy is not None else None,
        selection=config.select,
        num_parameters=num_parameters(training.learner.network),
        num_recordings=len(training.split),
        num_images=len(training.split.image_labels) if training.method.uses_images else 0,
        protocol=training.split.protocol,
        photos_in_reach=training.method.shown_photos(training.split.photos_in_reach),
        split_digest=training.split.split_digest,
        data_placement=data.placement,
        device=str(device) if processes.count == 1 else f"{processes.count} x {device.type}",
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Training:
    """A run in progress.

    unfinished (n, R): `StepRecord`s of the n steps that an interrupted epoch has done, on the CPU.
    """

    config: TrainConfig
    device: torch.device
    processes: Processes
    split: PairedCache
    method: Method
    sampler: Sampler
    sliding: SlidingStrategy
    data: Loader
    unlabelled: Unlabelled
    learner: Learner
    validation: Validation | None
    kept: Keeper
    unfinished: Tensor

    @classmethod
    def set_up(
        cls,
        model: ModelConfig,
        config: TrainConfig,
        open_split: OpenSplit,
        run_folder: Path,
        device: torch.device,
        processes: Processes,
        was_sharded: bool | None,
    ) -> _Training:
        """was_sharded: see `sampler_of`."""
        processes.check_batch_size(config.batch_size)
        split, method = open_split("train"), method_of(config)
        encoding = config.reads if method.uses_images else None
        sampler = sampler_of(split, config, encoding, device, processes, was_sharded)
        is_sharded = isinstance(sampler, ShardedSampler)
        selected = open_split(config.selection_split)
        if not len(selected) and config.select != "last":
            name = config.selection_split
            raise TrainingError(
                f"train.select = {config.select} needs recordings in the {name} split, and it has none: pair with a "
                f"{name} share, or set train.select = last"
            )
        network = build_network(
            model, num_classes=split.num_classes, num_steps=split.num_bins, size=split.size, seed=config.seed
        ).to(device)
        with torch.no_grad():
            network.coefficients.fill_(config.loss.initial_coefficient)
        network.backbone.recompute = config.recompute
        camera = camera_of(config, split) if method.uses_images else None
        auxiliary = auxiliary_of(method, network, split)
        groups = decay_groups(all_trained(network, auxiliary), config.weight_decay)
        unlabelled = Unlabelled.of(split, config, sampler, network, device, processes)
        statistics = AllStatistics(network, processes) if is_sharded else None
        kept_network = KeptNetwork.of(config, network, unlabelled, processes, statistics)
        optimizer = torch.optim.AdamW(groups, fused=True)
        division = Division(processes.count, is_sharded)
        training = cls(
            config=config,
            device=device,
            processes=processes,
            split=split,
            method=method,
            sampler=sampler,
            sliding=method.sliding(),
            data=load_for(sampler, split, config, encoding, device, processes),
            unlabelled=unlabelled,
            learner=Learner(config, network, optimizer, processes, camera, auxiliary, statistics),
            validation=Validation.of(selected, split, config.batch_size, device) if processes.is_main else None,
            kept=Keeper(model, config, run_folder, split, division, kept_network),
            unfinished=torch.zeros(0, len(StepRecord._fields)),
        )
        training._check_method()
        return training

    def _check_method(self) -> None:
        """Raises TrainingError where a step would have no probability of sliding, or an epoch belong to no phase.

        All steps are looked at before the first one: a training of days is not to end in its last epoch.
        """
        if [epoch for phase in self.method.phases() for epoch in phase] != list(range(self.config.epochs)):
            raise TrainingError(
                f"train.method = {self.config.method}: expected phases() to cover the epochs 0 to "
                f"{self.config.epochs - 1}, each once and in order; found {self.method.phases()}"
            )
        for step in range(self.config.epochs * self.sampler.num_steps):
            self._sliding_probability(step)

    def resume(self, on_message: OnMessage) -> bool:
        """Take up the run that the folder holds, and tell whether it holds one."""
        found = self.processes.from_main(self.kept.load(on_message) if self.processes.is_main else None)
        if found is not None:
            self.unfinished = self.kept.take_up(self.learner, *found)
        return found is not None

    def prepare(self, on_message: OnMessage) -> None:
        """What a method needs before its first step, a teacher perhaps, and the state that it begins with."""
        self.learner.prepare(self.data.photos, self.split.image_labels, on_message)
        if self.processes.is_main:
            self.kept.save_state(self.learner, self.unfinished)

    def fit(self, on_progress: OnProgress) -> None:
        """Train the epochs that are left. Raises TrainingStoppedError after SIGTERM or Ctrl-C, ProcessesLostError."""
        try:
            with StopSignals(hold=self.processes.count > 1) as signals:
                for phase in self.method.phases():
                    while phase.start <= self.kept.epoch < phase.stop:
                        self._train_epoch(phase, signals, on_progress)
                        number = self.processes.highest(signals.received, self.device)
                        if number and self.kept.epoch < self.config.epochs:
                            raise TrainingStoppedError(self.kept.run_folder, number)
        except ProcessesLostError as lost:
            raise ProcessesLostError(
                f"{lost}; {self.kept.whereabouts(self.processes.is_main)}: the same command goes on from there"
            ) from None

    def _train_epoch(self, phase: range, signals: StopSignals, on_progress: OnProgress) -> None:
        """Train what is left of an epoch, validate, and commit it."""
        if self.kept.epoch == phase.start and not len(self.unfinished):
            self.learner.optimizer.state.clear()  # each phase starts with a new optimiser
        rate = learning_rate(self.config, self.kept.epoch, phase)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        plan, newest = self.sampler.plan(self.kept.epoch), self.kept.states.newest
        records = EpochRecords(self.kept.epoch, plan, self.split.sample_ids, self.device, newest, self.unfinished)
        first, clock = len(self.unfinished), WaitClock(self.device)
        done = told = first  # steps of the epoch, and those up to the last report

        def tell(done: int, values: Tensor, **more: Any) -> TrainingProgress:
            pairs_per_s = (done - first) * self.config.batch_size / (time.perf_counter() - clock.began)
            return self._progress(done, values, rate, pairs_per_s, **more)

        self.learner.network.train()
        batches = self.data.batches(self.processes.part(plan), first)
        try:
            with closing(self.unlabelled.beside(batches, self.kept.epoch, first)) as batches:
                for step, batch in enumerate(clock.timed(batches), first):
                    records.note(
                        step, self.learner.step(batch, self._sliding_probability(step), self._share_done(step))
                    )
                    done = step + 1
                    self.kept.network.follow(self.kept.epoch * self.sampler.num_steps + done)
                    if done < len(plan):
                        at_interval = done % self.config.log_interval == 0
                        if at_interval:
                            records.read_to(done)
                            on_progress(tell(done, records.read[told:], data_share=clock.share()))
                            told = done
                        if at_interval or self.processes.count == 1:
                            self._save_or_stop(signals, records, done)
        except ProcessesLostError:
            if done > self.kept.saved_step:
                self._save(records, done)
            raise
        records.read_to(len(plan))
        records.check_weights(self.learner.trained)
        data_share = clock.share()  # before validation, which has data of its own
        network = self.kept.network.after_epoch(self.kept.epoch)
        progress = tell(len(plan), records.read, data_share=data_share, ends_epoch=True, **self._validate(network))
        self.unfinished = records.read[:0]
        self.kept.epoch += 1
        if self.processes.is_main:
            self.kept.commit(self.learner, network, progress, chooses_from=self.method.phases()[-1].start)
        on_progress(progress)

    def _save_or_stop(self, signals: StopSignals, records: EpochRecords, done: int) -> None:
        """Save the state in mid-epoch if a signal came or it is time, and then leave if a signal came."""
        wish = signals.received or int(self.kept.is_time_to_save(done))
        wish = self.processes.highest(wish, self.device)
        if not wish:
            return
        self._save(records, done)
        if wish > 1:
            raise TrainingStoppedError(self.kept.run_folder, wish)

    def _save(self, records: EpochRecords, done: int) -> None:
        records.read_to(done)
        records.check_weights(self.learner.trained)
        if self.processes.is_main:
            self.kept.save_state(self.learner, records.read)
        self.kept.saved_step = done

    def _sliding_probability(self, step: int) -> float:
        own = type(self.method).sliding is not Method.sliding
        name = f"sliding() of train.method = {self.config.method}" if own else f"train.sliding = {self.config.sliding}"
        return probability_at(self.sliding, self._share_done(step), name)

    def _share_done(self, step: int) -> float:
        """Of all steps, those before `step` of the epoch."""
        num_steps = self.sampler.num_steps
        return (step + self.kept.epoch * num_steps) / (self.config.epochs * num_steps)

    def _validate(self, network: SpikingNetwork) -> dict[str, Any]:
        """Accuracy and firing rates at an epoch's end; the main process measures them."""
        if self.validation is None:
            return {}
        self.kept.last_accuracy, rates = self.validation.measure(network)
        return {"selection_accuracy": self.kept.last_accuracy, "firing_rates": rates}

    def _progress(self, done: int, records: Tensor, rate: float, pairs_per_s: float, **more: Any) -> TrainingProgress:
        means = dict(zip(StepRecord._fields, records.double().mean(0).tolist(), strict=True))
        w_t = self.learner.network.coefficients.detach().sigmoid() if self.method.uses_coefficients() else None
        steps_left = (self.config.epochs - self.kept.epoch) * self.sampler.num_steps - done
        return TrainingProgress(
            epoch=self.kept.epoch + 1,
            num_epochs=self.config.epochs,
            step=done,
            num_steps=self.sampler.num_steps,
            loss=means["total"],
            loss_static=means["static"],
            loss_event=means["event"],
            loss_alignment=means["alignment"],
            grad_norm=means["grad_norm"],
            train_accuracy=means["accuracy"],
            w_t=None if w_t is None else tuple(w_t.tolist()),
            learning_rate=rate,
            sliding_probability=self._sliding_probability(done - 1),
            pairs_per_s=pairs_per_s,
            seconds_left=steps_left * self.config.batch_size / pairs_per_s,
            selection_split=self.config.selection_split,
            **more,
        )
