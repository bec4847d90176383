"""The two implementations that `benchmarks.training` compares, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import platform
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..cache.errors import TrainingError
from ..stages.batches.augmentation import augment
from ..stages.batches.data import event_frames, static_frames
from ..stages.batches.loading import OnDevice
from ..stages.batches.sampling import EpochPlan
from ..stages.evaluation.precision import in_precision
from ..stages.network.config import ModelConfig, Widths
from ..stages.network.networks import build_network
from ..stages.network.prediction import accuracy, predict
from ..stages.network.runtime import has_native_bfloat16, keep_freed_memory, select_device
from ..stages.training.config import TrainConfig
from ..stages.training.losses import transfer_loss
from ..stages.training.methods import MixedPrecision
from ..stages.training.step import Learner
from .plain import PlainVGG, plain_scores, plain_step

Precision = Literal["float32", "bfloat16"]

NUM_CLASSES = 101
PARTS = ("data", "forward", "loss", "backward", "optimiser")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is measured: batches of `batch_size` recordings and images, `num_steps` frames of `size` pixels squared."""

    batch_size: int = 8
    num_steps: int = 10
    size: int = 48
    widths: Widths | None = None
    device: str = "auto"
    precision: Precision = "float32"
    recompute: bool = False

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(widths=self.widths)


class Contestant:
    """A process that holds one implementation and answers one question at a time."""

    def __init__(self, name: Literal["ours", "plain"], workload: Workload) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, workload, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._process.join()

    def ask(self, question: str) -> Any:
        """The answer; EOFError where the process died, whose message is on stderr."""
        self._connection.send(question)
        return self._connection.recv()


def _serve(name: str, workload: Workload, connection: Connection) -> None:
    device = select_device(workload.device)
    implementation = _Ours(workload, device) if name == "ours" else _Plain(workload, device)
    answers: dict[str, Callable[[], Any]] = {
        "step": lambda: _seconds(implementation.step, device),
        "speed": lambda: machine_speed(workload, device),
        "peak": lambda: _peak_mb(device),
        "device": lambda: torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    if isinstance(implementation, _Ours):
        for precision, network in implementation.evaluated().items():
            scores = partial(implementation.scores, network)
            answers[f"evaluate {precision}"] = partial(_seconds, scores, device)
        answers["evaluations"] = lambda: list(implementation.evaluated())
        answers["agreement"] = implementation.agreement
        answers["parts"] = implementation.parts
    else:
        answers["evaluate"] = lambda: _seconds(implementation.evaluate, device)
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        connection.send(answers[question]())


def _data(workload: Workload, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (B, T, 2, S, S) uint8 with the mean of N-Caltech101, photos (B, 1, S, S) and labels (B,)."""
    generator = torch.Generator().manual_seed(0)
    shape = (workload.batch_size, workload.num_steps, 2, workload.size, workload.size)
    counts = torch.poisson(torch.full(shape, 2.5), generator).to(torch.uint8)
    photos = torch.rand(workload.batch_size, 1, workload.size, workload.size, generator=generator)
    labels = torch.randint(NUM_CLASSES, (workload.batch_size,), generator=generator)
    return counts.to(device), photos.to(device), labels.to(device)


class _Ours:
    def __init__(self, workload: Workload, device: torch.device) -> None:
        keep_freed_memory()
        self.device = device
        counts, photos, labels = _data(workload, device)
        network = build_network(
            workload.model, num_classes=NUM_CLASSES, num_steps=workload.num_steps, size=workload.size, seed=0
        ).to(device)
        network.backbone.recompute = workload.recompute
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        self.learner = Learner(TrainConfig(precision=workload.precision), network, optimizer)
        self.data = OnDevice(counts, labels, photos)
        rows = torch.arange(workload.batch_size)[None]
        draws = torch.rand(1, workload.batch_size, 4, generator=torch.Generator().manual_seed(1))
        self.plan = EpochPlan(rows, rows, draws[..., 0], draws)

    def step(self) -> None:
        self.learner.network.train()
        self.learner.step(next(self.data.batches(self.plan)), 0.0)

    def evaluated(self) -> dict[str, nn.Module]:
        """The network, with the weights that it has now, in each precision that it can be evaluated in here."""
        network = self.learner.network.eval()
        found: dict[str, nn.Module] = {"float32": network}
        if self.learner.config.precision == "bfloat16" or has_native_bfloat16(self.device):
            found["bfloat16"] = in_precision(network, "bfloat16")
        with suppress(TrainingError):
            found["int8"] = in_precision(network, "int8")
        return found

    def scores(self, network: nn.Module) -> Tensor:
        return predict(network, self.data, len(self.data))

    def agreement(self) -> dict[str, float]:
        """Share of recordings that each precision predicts as float32 does."""
        scores = {precision: self.scores(network) for precision, network in self.evaluated().items()}
        return {name: accuracy(found, scores["float32"].argmax(1)) for name, found in scores.items()}

    def parts(self) -> dict[str, float]:
        """Seconds of each part of a step."""
        learner = self.learner
        network, config = learner.network.train(), learner.config
        marks = [self._now()]
        batch = next(self.data.batches(self.plan))
        events = event_frames(augment(batch.frames.float(), batch.augmentation, config.augmentation))
        assert batch.images is not None
        static = static_frames(batch.images, events, batch.replacement < 0)
        marks.append(self._now())
        with MixedPrecision(network, config.precision).autocast():
            static_logits, static_features = network.with_features(static, "static")
            event_logits, event_features = network.with_features(events, "event")
        marks.append(self._now())
        loss = transfer_loss(
            static_features.float(),
            event_features.float(),
            static_logits.float(),
            event_logits.float(),
            batch.labels,
            network.coefficients,
            config.loss,
        )
        marks.append(self._now())
        learner.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        marks.append(self._now())
        learner.optimizer.step()
        marks.append(self._now())
        return {name: after - before for name, before, after in zip(PARTS, marks, marks[1:], strict=False)}

    def _now(self) -> float:
        _wait(self.device)
        return time.perf_counter()


class _Plain:
    def __init__(self, workload: Workload, device: torch.device) -> None:
        counts, photos, self.labels = _data(workload, device)
        self.events = counts.float()
        self.static = photos[:, None].expand_as(self.events)
        widths = workload.model.layers
        self.network = PlainVGG(NUM_CLASSES, workload.num_steps, workload.size, widths).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)

    def step(self) -> None:
        self.network.train()
        plain_step(self.network, self.optimizer, self.static, self.events, self.labels)

    def evaluate(self) -> None:
        plain_scores(self.network, self.events)


def machine_speed(workload: Workload, device: torch.device) -> tuple[float, float]:
    """Operations and bytes in a second, the best of 3: a 3x3 convolution of 512 channels, a copy of 256 MB.

    The convolution is in the workload's precision.
    """
    images = workload.batch_size * workload.num_steps
    dtype = getattr(torch, workload.precision)
    conv = nn.Conv2d(512, 512, 3, padding=1, bias=False, device=device, dtype=dtype)
    x = torch.rand(images, 512, 12, 12, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    with torch.inference_mode():
        convolution = min(_seconds(lambda: conv(x), device) for _ in range(3))
        copy = min(_seconds(lambda: target.copy_(source), device) for _ in range(3))
    return 2.0 * images * 144 * 9 * 512 * 512 / convolution, 2 * source.nbytes / copy


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if platform.system() == "Darwin" else 1024) / 1e6
