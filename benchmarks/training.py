"""How fast the method trains and evaluates, beside a plain implementation and beside what the machine can do.

Each implementation has its own process, so that neither's memory settings help or hurt the other; they take turns.
The floor counts the multiplications and the bytes that a step cannot do without, at the speed that the same process
reaches with one large convolution and one large copy, measured in each turn.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..stages.training.augmentation import augment
from ..stages.training.config import ModelConfig, TrainConfig, Widths
from ..stages.training.data import event_frames, static_frames
from ..stages.training.loading import OnDevice
from ..stages.training.losses import transfer_loss
from ..stages.training.networks import build_network
from ..stages.training.prediction import predict
from ..stages.training.runtime import keep_freed_memory, select_device
from ..stages.training.sampling import EpochPlan
from ..stages.training.sessions import cpu_name
from ..stages.training.step import Learner
from .plain import PlainVGG, plain_scores, plain_step

NUM_CLASSES = 101
EPOCH_PAIRS = 7838  # training recordings of N-Caltech101 in the released code's split
TARGETS = {"train_ratio": 2.5, "evaluate_ratio": 4.0}
PARTS = ("data", "forward", "loss", "backward", "optimiser")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is measured: batches of `batch_size` recordings and images, `num_steps` frames of `size` pixels squared."""

    batch_size: int = 8
    num_steps: int = 10
    size: int = 48
    widths: Widths | None = None
    device: str = "auto"
    precision: str = "float32"
    recompute: bool = False

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(widths=self.widths)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBenchReport:
    """Medians of one run, in ms of a whole step or a whole batch's evaluation.

    epoch_s: an epoch of N-Caltech101, 7,838 pairs, at this speed.
    floor_share: floor over step, 1 is the best that the machine can do with direct convolutions in float32.
    data_share: of the step. Peak memory in MB: of the device, on a CPU of the process.
    """

    step_ms: float
    plain_step_ms: float
    train_ratio: float
    evaluate_ms: float
    plain_evaluate_ms: float
    evaluate_ratio: float
    pairs_per_s: float
    epoch_s: float
    parts_ms: dict[str, float]
    data_share: float
    floor_ms: float
    floor_share: float
    step_gflop: float
    step_gb: float
    machine_gflop_per_s: float
    machine_gb_per_s: float
    peak_memory_mb: float
    plain_peak_memory_mb: float
    batch_size: int
    num_steps: int
    size: int
    precision: str
    recompute: bool
    device: str
    machine: dict[str, str]

    def rows(self) -> dict[str, str]:
        """A table for people."""
        parts = ", ".join(f"{name} {ms:.0f}" for name, ms in self.parts_ms.items())
        return {
            "step": f"{self.step_ms:.0f} ms, {self.pairs_per_s:.2f} pairs/s",
            "epoch": f"{self.epoch_s:.1f} s for {EPOCH_PAIRS:,} pairs",
            "parts": f"{parts} ms; data {self.data_share:.1%} of the step",
            "training": f"{self.train_ratio:.2f} times plain ({self.plain_step_ms:.0f} ms; "
            f"target {TARGETS['train_ratio']:g})",
            "evaluation": f"{self.evaluate_ratio:.2f} times plain ({self.evaluate_ms:.0f} ms, plain "
            f"{self.plain_evaluate_ms:.0f} ms; target {TARGETS['evaluate_ratio']:g})",
            "floor": f"{self.floor_ms:.0f} ms for {self.step_gflop:.0f} GFLOP and {self.step_gb:.1f} GB; "
            f"{self.floor_share:.0%} reached",
            "machine speed": f"{self.machine_gflop_per_s:.0f} GFLOP/s, {self.machine_gb_per_s:.1f} GB/s",
            "peak memory": f"{self.peak_memory_mb:.0f} MB, plain {self.plain_peak_memory_mb:.0f} MB",
            "workload": f"batch {self.batch_size}, {self.num_steps} steps, {self.size} x {self.size}, "
            f"{self.precision}{', recompute' if self.recompute else ''}, {self.device}; plain in float32",
            **self.machine,
        }


def run(workload: Workload | None = None, *, num_turns: int = 5) -> TrainBenchReport:
    """Measure: each of the two warms up, then they take `num_turns` turns."""
    workload = workload or Workload()
    with _Process("ours", workload) as ours, _Process("plain", workload) as plain:
        processes = {"ours": ours, "plain": plain}
        times: dict[tuple[str, str], list[float]] = {}
        parts_of_turns: list[dict[str, float]] = []
        speeds: list[tuple[float, float]] = []
        for turn in range(num_turns + 1):
            for task in ("step", "evaluate"):
                for name, process in processes.items():
                    seconds = process.ask(task)
                    if turn:
                        times.setdefault((name, task), []).append(seconds)
            parts_of_turns.append(ours.ask("parts"))
            speeds.append(ours.ask("speed"))
        peaks = {name: process.ask("peak") for name, process in processes.items()}
        device = ours.ask("device")
    parts = {name: statistics.median(turn[name] for turn in parts_of_turns[1:]) for name in PARTS}
    flop_per_s, bytes_per_s = (statistics.median(speed) for speed in zip(*speeds, strict=True))
    ms = {key: statistics.median(values) * 1e3 for key, values in times.items()}
    flop, num_bytes = count_step(workload)
    floor_ms = max(flop / flop_per_s, num_bytes / bytes_per_s) * 1e3
    step_ms = ms["ours", "step"]
    return TrainBenchReport(
        step_ms=step_ms,
        plain_step_ms=ms["plain", "step"],
        train_ratio=ms["plain", "step"] / step_ms,
        evaluate_ms=ms["ours", "evaluate"],
        plain_evaluate_ms=ms["plain", "evaluate"],
        evaluate_ratio=ms["plain", "evaluate"] / ms["ours", "evaluate"],
        pairs_per_s=workload.batch_size / step_ms * 1e3,
        epoch_s=EPOCH_PAIRS / workload.batch_size * step_ms / 1e3,
        parts_ms={name: seconds * 1e3 for name, seconds in parts.items()},
        data_share=parts["data"] / sum(parts.values()),
        floor_ms=floor_ms,
        floor_share=floor_ms / step_ms,
        step_gflop=flop / 1e9,
        step_gb=num_bytes / 1e9,
        machine_gflop_per_s=flop_per_s / 1e9,
        machine_gb_per_s=bytes_per_s / 1e9,
        peak_memory_mb=peaks["ours"],
        plain_peak_memory_mb=peaks["plain"],
        batch_size=workload.batch_size,
        num_steps=workload.num_steps,
        size=workload.size,
        precision=workload.precision,
        recompute=workload.recompute,
        device=device,
        machine={
            "cpu": cpu_name(),
            "cores": str(os.cpu_count()),
            "threads": str(torch.get_num_threads()),
            "system": platform.platform(),
            "python": platform.python_version(),
            "torch": version("torch"),
        },
    )


def count_step(workload: Workload) -> tuple[float, float]:
    """Floating point operations and bytes that a step of both branches needs, direct convolutions in float32.

    Each convolution runs forward, for its weights' gradient and, but for the first, for its input's. Bytes: a block
    writes and reads its current and its spikes once in the forward pass, and again with their gradients backward;
    weights, gradients and AdamW's two moments are read and written once.
    """
    images = 2 * workload.batch_size * workload.num_steps
    flop = activations = 0.0
    parameters, channels, size = 0, 2, workload.size
    for width in workload.model.layers:
        if width == "P":
            size //= 2
            continue
        weights = 9 * channels * width
        flop += 2.0 * images * size**2 * weights * (2 if channels == 2 and not parameters else 3)
        activations += images * size**2 * width
        parameters += weights
        channels = width
    parameters += 2 * channels * size**2 * NUM_CLASSES
    flop += 6.0 * images * channels * size**2 * NUM_CLASSES
    return flop, 4 * (8 * activations + 8 * parameters)


class _Process:
    """A process that holds one implementation and answers one question at a time."""

    def __init__(self, name: Literal["ours", "plain"], workload: Workload) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, workload, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> _Process:
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
        "evaluate": lambda: _seconds(implementation.evaluate, device),
        "speed": lambda: machine_speed(workload, device),
        "peak": lambda: _peak_mb(device),
        "device": lambda: torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    if isinstance(implementation, _Ours):
        answers["parts"] = implementation.parts
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

    def evaluate(self) -> None:
        with self.learner.autocast():
            predict(self.learner.network, self.data, len(self.data))

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
        with learner.autocast():
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
    """Float32 operations and bytes in a second, the best of 3: a 3x3 convolution of 512 channels, a copy of 256 MB."""
    images = workload.batch_size * workload.num_steps
    conv = nn.Conv2d(512, 512, 3, padding=1, bias=False, device=device)
    x = torch.rand(images, 512, 12, 12, device=device).to(memory_format=torch.channels_last)
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
