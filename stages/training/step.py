"""One step of training: augmentation, the method's loss, gradients, update. Nothing here waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ..batches.data import event_frames
from ..batches.loading import Batch
from ..network.networks import SpikingNetwork
from ..runs.state import random_state, set_random_state
from ..saccades.pixels import Camera
from .augmentation import augment
from .config import TrainConfig
from .distributed import ALONE, Processes, ProcessesLostError
from .losses import LossParts
from .methods import Method, MixedPrecision, Photos, Shown, method_of
from .progress import OnMessage
from .statistics import AllStatistics
from .unlabelled import consistency


class StepRecord(NamedTuple):
    """What is kept of a step, float scalars, of the global batch: the loss in parts, the gradient's norm, share named
    right."""

    static: Tensor
    event: Tensor
    alignment: Tensor
    total: Tensor
    grad_norm: Tensor
    accuracy: Tensor


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """An optimiser's parameter groups: weights decay; what has one dimension does not (timm's rule).

    That is biases, batch norms and the loss coefficients, which decay would pull towards w_t = 1/2.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def all_trained(network: nn.Module, auxiliary: nn.Module | None) -> nn.Module:
    """The network, and after it what a method needs beside it."""
    return network if auxiliary is None else nn.ModuleList([network, auxiliary])


@dataclass(frozen=True)
class Learner:
    """A network, its optimiser, and the method that teaches it, with what that needs beside the network.

    Gradients are averaged over `processes`, each of which steps on its own part of the batch.  camera: records the
    photos that are shown; None: their brightness is, or what was recorded of them before.  statistics: of all
    processes, where each has shards of its own.
    """

    config: TrainConfig
    network: SpikingNetwork
    optimizer: torch.optim.Optimizer
    processes: Processes = ALONE
    camera: Camera | None = None
    auxiliary: nn.Module | None = None
    statistics: AllStatistics | None = None

    @cached_property
    def method(self) -> Method:
        return method_of(self.config)

    @cached_property
    def trained(self) -> nn.Module:
        return all_trained(self.network, self.auxiliary)

    def prepare(self, photos: Photos, labels: NDArray[np.int64], tell: OnMessage) -> None:
        """Before the first step of a run: the main process prepares what is beside the network, the others get it."""
        if self.auxiliary is None:
            return
        if self.processes.is_main:
            self.method.prepare(self.auxiliary, photos, labels, tell)
        weights = {name: tensor.cpu() for name, tensor in self.auxiliary.state_dict().items()}
        self.auxiliary.load_state_dict(self.processes.from_main(weights))

    def step(self, batch: Batch, sliding_probability: float, progress: float = 0.0) -> Tensor:
        """Train on a batch; returns a `StepRecord` stacked to (6,), of all processes, still on the device.

        progress: the share of all steps that are done, in [0, 1). Raises ProcessesLostError, and nothing is changed
        then.
        """
        with self._whole_or_not():
            return self._step(batch, sliding_probability, progress)

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """What a step changes before its gradients are those of all processes is put back where these never come."""
        if self.processes.count == 1:
            yield
            return
        buffers = list(self.trained.buffers())
        before, random = [buffer.clone() for buffer in buffers], random_state()
        try:
            yield
        except ProcessesLostError:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            set_random_state(random)
            raise

    def _step(self, batch: Batch, sliding_probability: float, progress: float) -> Tensor:
        generator = batch.generator("augmentation")
        events = event_frames(augment(batch.frames.float(), batch.augmentation, self.config.augmentation, generator))
        shown = Shown(
            events,
            batch.labels,
            batch.images,
            batch.replacement,
            sliding_probability,
            self._record(batch),
            progress,
            batch.generator,
        )
        network = MixedPrecision(self.network, self.config.precision, self.auxiliary)
        loss, logits = self._checked(self.method.loss(network, shown), shown)
        if batch.unlabelled is not None:
            more = self.config.unlabelled.consistency_weight * consistency(network, batch.unlabelled, self.config)
            loss = loss._replace(event=loss.event + more, total=loss.total + more)
        self.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        accuracy = (logits.mean(0).argmax(1) == batch.labels).float().mean()
        own = torch.stack([part.detach().float() for part in (*loss, accuracy)])
        told = self.processes.average_gradients(self.trained.parameters(), self._with_statistics(own))
        *parts, accuracy = told[:, : len(own)].mean(0)
        if self.statistics is not None:
            self.statistics.values = told[:, len(own) :]
        gradients = [p.grad for p in self.trained.parameters() if p.grad is not None]
        grad_norm = torch.nn.utils.get_total_norm(gradients)
        self.optimizer.step()
        return torch.stack([*parts, grad_norm.detach().float(), accuracy])

    def _with_statistics(self, values: Tensor) -> Tensor:
        return values if self.statistics is None else torch.cat([values, self.statistics.own()])

    def _record(self, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        if self.config.encoding == "recorded":  # before training
            return lambda recordings: event_frames(recordings.float())
        if self.camera is None:
            return None
        camera, generator = self.camera, batch.generator("saccades")
        return lambda photos: event_frames(camera.record(photos, generator))

    def _checked(self, given: object, shown: Shown) -> tuple[LossParts, Tensor]:
        """What a method's `loss` gave. Raises TrainingError where it has another form."""
        where = f"loss() of train.method = {self.config.method}: expected"
        if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], LossParts)):
            raise TrainingError(f"{where} a pair (LossParts, logits); found {type(given).__name__}")
        loss, logits = given
        for name, part in zip(loss._fields, loss, strict=True):
            if not (isinstance(part, Tensor) and part.ndim == 0):
                raise TrainingError(f"{where} LossParts.{name} to be a tensor without dimensions; found {_form(part)}")
        if not loss.total.requires_grad:
            raise TrainingError(f"{where} LossParts.total to follow from the network; found a tensor without gradient")
        steps, batch_size = shown.events.shape[:2]
        if not (isinstance(logits, Tensor) and logits.ndim == 3 and logits.shape[:2] == (steps, batch_size)):
            raise TrainingError(
                f"{where} logits (T, B, classes) with T = {steps} and B = {batch_size}; found {_form(logits)}"
            )
        return loss, logits


def _form(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
