"""Training, read from the top: set up, fit epoch by epoch, validate, keep the weights.

Losses and accuracies follow from configuration and data alone; an interrupted run goes on after its last whole epoch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache import durable
from ...cache.errors import TrainingError
from .checkpoint import (
    CheckpointInfo,
    TrainingState,
    check_identity,
    load_state,
    save_state,
    save_weights,
    state_path,
    weights_path,
)
from .config import NEUTRAL_TRAIN_FIELDS, ModelConfig, TrainConfig
from .data import EventData, OpenSplit, PairedSplit, SplitName, load_events, load_static
from .metrics import append_metrics, keep_metrics
from .networks import build_network, num_parameters
from .prediction import accuracy, predict
from .runtime import select_device, torch_settings
from .sampling import EpochPlan, Sampler
from .schedule import learning_rate
from .sliding import SlidingStrategy, sliding_strategy
from .step import Learner, StepRecord


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands. Epochs and steps count from 1; accuracies are top-1 in [0, 1], set at an epoch's end."""

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    loss: float
    learning_rate: float
    sliding_probability: float
    pairs_per_s: float
    train_accuracy: float | None = None
    selection_accuracy: float | None = None


@dataclass(frozen=True)
class TrainingReport:
    """The outcome of a run. Accuracies: top-1 in [0, 1] on `selection_split`; None without such a split."""

    epochs: int
    resumed_after: int
    best_epoch: int
    best_accuracy: float | None
    last_accuracy: float | None
    selection_split: str | None
    num_parameters: int
    num_recordings: int
    num_images: int
    protocol: str
    split_digest: str
    device: str
    seconds: float


OnProgress = Callable[[TrainingProgress], None]


def run(
    model: ModelConfig,
    config: TrainConfig,
    open_split: OpenSplit,
    run_folder: Path,
    *,
    resolved: Mapping[str, Any] | None = None,
    on_progress: OnProgress = lambda progress: None,
) -> TrainingReport:
    """Train a network, or go on with the run that `run_folder` holds.

    Writes `config.json` (`resolved`, or the two configurations), `metrics.jsonl` and `checkpoints/`.
    Raises TrainingError: data that cannot be trained on, a run folder of other settings, a loss that is not finite.
    """
    started = time.perf_counter()
    with torch_settings(threads=config.threads, deterministic=config.deterministic):
        training = _Training.set_up(model, config, open_split, run_folder)
        resumed_after = training.resume()
        document = {"model": model.model_dump(), "train": config.model_dump()} if resolved is None else dict(resolved)
        durable.write_json(run_folder / "config.json", document)
        for epoch in range(resumed_after, config.epochs):
            training.run_epoch(epoch, on_progress)
    return TrainingReport(
        epochs=config.epochs,
        resumed_after=resumed_after,
        best_epoch=training.best_epoch,
        best_accuracy=training.best_accuracy,
        last_accuracy=training.last_accuracy,
        selection_split=training.selection_split,
        num_parameters=num_parameters(training.learner.network),
        num_recordings=len(training.split),
        num_images=0 if training.learner.images is None else len(training.learner.images),
        protocol=training.split.protocol,
        split_digest=training.split.split_digest,
        device=str(training.device),
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Training:
    """A run in progress."""

    model: ModelConfig
    config: TrainConfig
    run_folder: Path
    device: torch.device
    split: PairedSplit
    sampler: Sampler
    sliding: SlidingStrategy
    learner: Learner
    selection_split: str | None
    selection: EventData | None
    best_epoch: int = 0
    best_accuracy: float | None = None
    last_accuracy: float | None = None

    @classmethod
    def set_up(cls, model: ModelConfig, config: TrainConfig, open_split: OpenSplit, run_folder: Path) -> _Training:
        device = select_device(config.device)
        split = open_split("train")
        sampler = Sampler(split, config)
        selection_split: SplitName = "test" if config.select == "test_as_released" else "validation"
        selection = load_events(open_split(selection_split), device)
        if not len(selection) and config.select != "last":
            raise TrainingError(
                f"train.select = {config.select} needs recordings in the {selection_split} split, and it has none: "
                f"pair with a {selection_split} share, or set train.select = last"
            )
        network = build_network(
            model, num_classes=split.num_classes, num_steps=split.num_bins, size=split.size, seed=config.seed
        ).to(device)
        with torch.no_grad():
            network.coefficients.fill_(config.loss.initial_coefficient)
        learner = Learner(
            config=config,
            network=network,
            optimizer=torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay, fused=True),
            events=load_events(split, device),
            images=load_static(split, config.encoding, device) if config.method == "transfer" else None,
        )
        (run_folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        return cls(
            model=model,
            config=config,
            run_folder=run_folder,
            device=device,
            split=split,
            sampler=sampler,
            sliding=sliding_strategy(config),
            learner=learner,
            selection_split=selection_split if len(selection) else None,
            selection=selection if len(selection) else None,
        )

    def resume(self) -> int:
        """Take up the run that the folder holds; returns the epochs it has done, 0 for a new one."""
        path = state_path(self.run_folder)
        state = load_state(path, self.device)
        if state is not None:
            check_identity(path, state.identity, self.identity)
            self.learner.network.load_state_dict(state.network)
            self.learner.optimizer.load_state_dict(state.optimizer)
            self.best_epoch, self.best_accuracy = state.best_epoch, state.best_accuracy
            self.last_accuracy = state.last_accuracy
        done = 0 if state is None else state.epoch
        keep_metrics(self.run_folder, done)
        return done

    def run_epoch(self, epoch: int, on_progress: OnProgress) -> None:
        """Train epoch `epoch` (from 0), validate, and commit it."""
        started = time.perf_counter()
        rate = learning_rate(self.config, epoch)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        steps = self._train(epoch, rate, on_progress)
        seconds = time.perf_counter() - started
        num_pairs = self.sampler.num_steps * self.config.batch_size
        train_accuracy = float(steps.num_correct.sum()) / num_pairs
        if self.selection is not None:
            scores = predict(self.learner.network, self.selection, self.config.batch_size)
            self.last_accuracy = accuracy(scores, self.selection.labels)
        progress = TrainingProgress(
            epoch=epoch + 1,
            num_epochs=self.config.epochs,
            step=self.sampler.num_steps,
            num_steps=self.sampler.num_steps,
            loss=float(steps.total.mean()),
            learning_rate=rate,
            sliding_probability=self._sliding_probability(epoch, self.sampler.num_steps - 1),
            pairs_per_s=num_pairs / seconds,
            train_accuracy=train_accuracy,
            selection_accuracy=self.last_accuracy,
        )
        append_metrics(self.run_folder, self._metrics(progress, steps))
        self._commit(epoch + 1)
        on_progress(progress)

    def _train(self, epoch: int, rate: float, on_progress: OnProgress) -> StepRecord:
        """The steps of one epoch; returns their records, each field (L,), on the CPU."""
        plan = self.sampler.plan(epoch).to(self.device)
        records = torch.zeros(len(plan), len(StepRecord._fields), device=self.device)
        read = torch.zeros(0, len(StepRecord._fields))
        started = time.perf_counter()
        self.learner.network.train()
        for step in range(len(plan)):
            probability = self._sliding_probability(epoch, step)
            records[step] = self.learner.step(plan, step, probability)
            last = step + 1 == len(plan)
            if last or (step + 1) % self.config.log_interval == 0:
                new = records[len(read) : step + 1].cpu()
                self._check_finite(new, plan, epoch, first_step=len(read))
                read = torch.cat([read, new])
            if not last and len(read) == step + 1:
                on_progress(
                    TrainingProgress(
                        epoch=epoch + 1,
                        num_epochs=self.config.epochs,
                        step=step + 1,
                        num_steps=len(plan),
                        loss=float(StepRecord(*new.unbind(1)).total.mean()),
                        learning_rate=rate,
                        sliding_probability=probability,
                        pairs_per_s=(step + 1) * self.config.batch_size / (time.perf_counter() - started),
                    )
                )
        return StepRecord(*read.unbind(1))

    def _sliding_probability(self, epoch: int, step: int) -> float:
        num_steps = self.sampler.num_steps
        return self.sliding((step + epoch * num_steps) / (self.config.epochs * num_steps))

    def _check_finite(self, records: Tensor, plan: EpochPlan, epoch: int, first_step: int) -> None:
        """Raise TrainingError for the first step whose loss or gradient is not finite."""
        broken = (~records.isfinite()).any(1).nonzero()
        if not len(broken):
            return
        row = int(broken[0])
        step = first_step + row
        ids = ", ".join(self.split.sample_ids[i] for i in plan.recordings[step].tolist())
        values = ", ".join(f"{k} {v:g}" for k, v in zip(StepRecord._fields, records[row].tolist(), strict=True))
        kept = f"the weights of epoch {epoch} are kept" if epoch else "no epoch was finished"
        raise TrainingError(
            f"the loss or its gradient is not finite in step {step + 1} of epoch {epoch + 1} ({values}); {kept} in "
            f"{self.run_folder}. Lower train.base_learning_rate, or look at the batch's recordings: {ids}"
        )

    def _metrics(self, progress: TrainingProgress, steps: StepRecord) -> dict[str, Any]:
        """The epoch's line of `metrics.jsonl`; w_t are the alignment's coefficients after the epoch."""
        coefficients = torch.sigmoid(self.learner.network.coefficients.detach()).tolist()
        return {
            "epoch": progress.epoch,
            "loss": progress.loss,
            "loss_static": float(steps.static.mean()),
            "loss_event": float(steps.event.mean()),
            "loss_alignment": float(steps.alignment.mean()),
            "grad_norm": float(steps.grad_norm.mean()),
            "w_t": coefficients if self.config.loss.regularization == "learned" else None,
            "sliding_probability": progress.sliding_probability,
            "learning_rate": progress.learning_rate,
            "train_accuracy": progress.train_accuracy,
            f"{self.selection_split or 'validation'}_accuracy": self.last_accuracy,
            "pairs_per_s": round(progress.pairs_per_s, 2),
        }

    def _commit(self, epoch: int) -> None:
        """Keep the weights after `epoch` epochs; the state is written last and makes the epoch count."""
        best, now = self.best_accuracy, self.last_accuracy
        if self.config.select == "last" or best is None or (now is not None and now > best):
            self.best_epoch, self.best_accuracy = epoch, now
            save_weights(weights_path(self.run_folder, "best"), self.learner.network, self._info(epoch))
        save_weights(weights_path(self.run_folder, "last"), self.learner.network, self._info(epoch))
        state = TrainingState(
            epoch=epoch,
            network=self.learner.network.state_dict(),
            optimizer=self.learner.optimizer.state_dict(),
            best_epoch=self.best_epoch,
            best_accuracy=self.best_accuracy,
            last_accuracy=self.last_accuracy,
            identity=self.identity,
        )
        save_state(state_path(self.run_folder), state)

    def _info(self, epoch: int) -> CheckpointInfo:
        return CheckpointInfo(
            model=self.model,
            method=self.config.method,
            class_names=self.split.class_names,
            num_steps=self.split.num_bins,
            size=self.split.size,
            epoch=epoch,
            selection=self.config.select,
            accuracy=self.last_accuracy,
            protocol=self.split.protocol,
            split_digest=self.split.split_digest,
            cache_fingerprint=self.split.fingerprint,
        )

    @property
    def identity(self) -> str:
        """What must be the same to go on with a run."""
        return json.dumps(
            {
                "model": self.model.model_dump(mode="json"),
                "train": self.config.model_dump(mode="json", exclude=set(NEUTRAL_TRAIN_FIELDS)),
                "cache": {"fingerprint": self.split.fingerprint, "split_digest": self.split.split_digest},
            },
            sort_keys=True,
        )
