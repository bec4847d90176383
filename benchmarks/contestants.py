"""The two implementations that `benchmarks.training` compares, each in a process of its own (`ask`)."""

from __future__ import annotations

import platform
import resource
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ..cache.errors import TrainingError
from ..stages.batches.data import event_frames, static_frames
from ..stages.batches.loading import OnDevice
from ..stages.batches.sampling import EpochPlan
from ..stages.evaluation.precision import in_precision
from ..stages.network.config import ModelConfig, Widths
from ..stages.network.networks import build_network
from ..stages.network.prediction import accuracy, predict
from ..stages.network.runtime import has_native_bfloat16, keep_freed_memory, select_device
from ..stages.saccades.config import SaccadeConfig
from ..stages.saccades.pixels import Camera
from ..stages.training.augmentation import augment
from ..stages.training.config import TrainConfig
from ..stages.training.losses import transfer_loss
from ..stages.training.methods import MixedPrecision
from ..stages.training.step import Learner
from . import plain_pytorch
from .measure import seconds, wait_for

Precision = Literal["float32", "bfloat16"]

NUM_CLASSES = 101
PARTS = ("data", "forward", "loss", "backward", "optimiser")
NUM_DRAWINGS = 20


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


def answer(name: str, workload: Workload, question: str, *arguments: str) -> Any:
    """What the implementation ("ours", "plain"; one is kept in each process) returns when asked for a method."""
    return getattr(_implementation(name, workload), question)(*arguments)


@lru_cache(maxsize=1)
def _implementation(name: str, workload: Workload) -> _Contestant:
    return (_Ours if name == "ours" else _PlainPyTorch)(workload)


class _Contestant:
    """Data: counts (B, T, 2, S, S) uint8 with the mean of N-Caltech101, photos (B, 1, S, S) and labels (B,)."""

    def __init__(self, workload: Workload) -> None:
        self.workload, self.device = workload, select_device(workload.device)
        generator = torch.Generator().manual_seed(0)
        shape = (workload.batch_size, workload.num_steps, 2, workload.size, workload.size)
        self.counts = torch.poisson(torch.full(shape, 2.5), generator).to(torch.uint8).to(self.device)
        photos = torch.rand(workload.batch_size, 1, workload.size, workload.size, generator=generator)
        labels = torch.randint(NUM_CLASSES, (workload.batch_size,), generator=generator)
        self.photos, self.labels = photos.to(self.device), labels.to(self.device)

    def step(self) -> None:
        raise NotImplementedError

    def seconds(self, what: str, *arguments: str) -> float:
        """How long a call of another method takes."""
        return seconds(lambda: getattr(self, what)(*arguments), self.device)

    def speed(self) -> tuple[float, float]:
        """Operations and bytes in a second, the best of 3: a 3x3 convolution of 512 channels, a copy of 256 MB.

        The convolution is in the workload's precision.
        """
        device, dtype = self.device, getattr(torch, self.workload.precision)
        images = self.workload.batch_size * self.workload.num_steps
        conv = nn.Conv2d(512, 512, 3, padding=1, bias=False, device=device, dtype=dtype)
        x = torch.rand(images, 512, 12, 12, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        source = torch.ones(2**26, device=device)
        target = torch.empty_like(source)
        with torch.inference_mode():
            convolution = min(seconds(lambda: conv(x), device) for _ in range(3))
            copy = min(seconds(lambda: target.copy_(source), device) for _ in range(3))
        return 2.0 * images * 144 * 9 * 512 * 512 / convolution, 2 * source.nbytes / copy

    def peak_mb(self) -> float:
        """Peak memory: of the device, on a CPU of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if platform.system() == "Darwin" else 1024) / 1e6

    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"


class _Ours(_Contestant):
    def __init__(self, workload: Workload) -> None:
        keep_freed_memory()
        super().__init__(workload)
        network = build_network(
            workload.model, num_classes=NUM_CLASSES, num_steps=workload.num_steps, size=workload.size, seed=0
        ).to(self.device)
        network.backbone.recompute = workload.recompute
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        self.learner = Learner(TrainConfig(precision=workload.precision), network, optimizer)
        self.data = OnDevice(self.counts, self.labels, self.photos)
        rows = torch.arange(workload.batch_size)[None]
        draws = torch.rand(1, workload.batch_size, 4, generator=torch.Generator().manual_seed(1))
        self.plan = EpochPlan(rows, rows, draws[..., 0], draws, rows.cpu())
        self.camera = Camera(SaccadeConfig(), workload.num_steps, workload.size)
        self.generator = torch.Generator(self.device).manual_seed(2)
        self.evaluated = self._evaluated()

    def step(self) -> None:
        self.learner.network.train()
        self.learner.step(next(self.data.batches(self.plan)), 0.0)

    def draw(self) -> None:
        """What `train.encoding = saccade` adds to a step in which every photo of the batch is shown."""
        self.camera.record(self.photos, self.generator)

    def draw_kernels(self) -> float | None:
        """Seconds that the device computes for a drawing, the mean of 20; None on a CPU, which launches nothing."""
        if self.device.type != "cuda":
            return None
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            for _ in range(NUM_DRAWINGS):
                self.draw()
            wait_for(self.device)
        kernels = [event for event in found.key_averages() if event.device_type.name == "CUDA"]
        return float(sum(event.self_device_time_total for event in kernels)) / NUM_DRAWINGS / 1e6

    def _evaluated(self) -> dict[str, nn.Module]:
        """The network, with the weights that it has now, in each precision that it can be evaluated in here."""
        network = self.learner.network.eval()
        found: dict[str, nn.Module] = {"float32": network}
        if self.learner.config.precision == "bfloat16" or has_native_bfloat16(self.device):
            found["bfloat16"] = in_precision(network, "bfloat16")
        with suppress(TrainingError):
            found["int8"] = in_precision(network, "int8")
        return found

    def precisions(self) -> list[str]:
        """What `evaluate` can be asked for."""
        return list(self.evaluated)

    def evaluate(self, precision: str) -> None:
        self._scores(self.evaluated[precision])

    def _scores(self, network: nn.Module) -> Tensor:
        return predict(network, self.data, len(self.data))

    def agreement(self) -> dict[str, float]:
        """Share of recordings that each precision predicts as float32 does, with the weights of now."""
        scores = {precision: self._scores(network) for precision, network in self._evaluated().items()}
        return {name: accuracy(found, scores["float32"].argmax(1)) for name, found in scores.items()}

    def parts(self) -> dict[str, float]:
        """Seconds of each part of a step."""
        learner = self.learner
        network, config = learner.network.train(), learner.config
        marks: list[float] = []

        def mark() -> None:
            wait_for(self.device)
            marks.append(perf_counter())

        mark()
        batch = next(self.data.batches(self.plan))
        generator = batch.generator("augmentation")
        events = event_frames(augment(batch.frames.float(), batch.augmentation, config.augmentation, generator))
        assert batch.images is not None
        static = static_frames(batch.images, events, batch.replacement < 0)
        mark()
        mixed = MixedPrecision(network, config.precision)
        static_logits, static_features = mixed.with_features(static, "static")
        event_logits, event_features = mixed.with_features(events, "event")
        mark()
        outputs = (static_features, event_features, static_logits, event_logits)
        loss = transfer_loss(*outputs, batch.labels, network.coefficients, config.loss)
        mark()
        learner.optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        mark()
        learner.optimizer.step()
        mark()
        return {name: after - before for name, before, after in zip(PARTS, marks, marks[1:], strict=False)}


class _PlainPyTorch(_Contestant):
    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.events = self.counts.float()
        self.static = self.photos[:, None].expand_as(self.events)
        widths = workload.model.layers
        network = plain_pytorch.PlainVGG(NUM_CLASSES, workload.num_steps, workload.size, widths)
        self.network = network.to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)

    def step(self) -> None:
        self.network.train()
        plain_pytorch.plain_step(self.network, self.optimizer, self.static, self.events, self.labels)

    def evaluate(self) -> None:
        plain_pytorch.plain_scores(self.network, self.events)
