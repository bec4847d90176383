"""How fast the method trains and evaluates, beside a plain implementation and beside what the machine can do.

Each implementation has its own process, so that neither's memory settings help or hurt the other; they take turns.
The floor counts the multiplications and the bytes that a step cannot do without, at the speed that the same process
reaches with one large convolution and one large copy, measured in each turn.
"""

from __future__ import annotations

import os
import platform
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Literal, NamedTuple

import torch

from ..stages.network.runtime import has_native_bfloat16, select_device
from ..stages.runs.history import cpu_name
from .contestants import NUM_CLASSES, PARTS, Contestant, Precision, Workload

EPOCH_PAIRS = 7838  # training recordings of N-Caltech101 in the released code's split
TARGETS = {"train_ratio": 2.5, "evaluate_ratio": 4.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBenchReport:
    """Medians of one run, in ms of a whole step or a whole batch's evaluation, of `precision` unless said otherwise.

    The dictionaries have an entry for each precision that this machine has: times of plain PyTorch (in float32) over
    those of this project. evaluate_ratio: of the fastest precision to evaluate in, `evaluate_precision`. agreement:
    share of recordings with the class that float32 predicts, with the same weights, of few steps. epoch_s: an epoch of
    N-Caltech101, 7,838 pairs, at this speed. floor_share: floor over step, 1 is the best that the machine can do with
    direct convolutions.
    data_share: of the step. Peak memory in MB: of the device, on a CPU of the process.
    """

    step_ms: float
    plain_step_ms: float
    train_ratio: float
    train_ratios: dict[str, float]
    evaluate_precision: str
    evaluate_ms: float
    plain_evaluate_ms: float
    evaluate_ratio: float
    evaluate_ratios: dict[str, float]
    agreement: dict[str, float]
    pairs_per_s: float
    epoch_s: float
    parts_ms: dict[str, float]
    data_share: float
    floor_ms: float
    floor_share: float
    floor_shares: dict[str, float]
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
        trained = ", ".join(
            f"{name} {ratio:.2f} ({self.floor_shares[name]:.0%} of its floor)"
            for name, ratio in self.train_ratios.items()
        )
        evaluated = ", ".join(
            f"{name} {ratio:.2f} ({self.agreement[name]:.0%} predicted as in float32)"
            for name, ratio in self.evaluate_ratios.items()
        )
        return {
            "step": f"{self.step_ms:.0f} ms in {self.precision}, {self.pairs_per_s:.2f} pairs/s",
            "epoch": f"{self.epoch_s:.1f} s for {EPOCH_PAIRS:,} pairs",
            "parts": f"{parts} ms; data {self.data_share:.1%} of the step",
            "training": f"times plain ({self.plain_step_ms:.0f} ms; target {TARGETS['train_ratio']:g}): {trained}",
            "evaluation": f"times plain ({self.plain_evaluate_ms:.0f} ms; target {TARGETS['evaluate_ratio']:g}): "
            f"{evaluated}",
            "floor": f"{self.floor_ms:.0f} ms for {self.step_gflop:.0f} GFLOP and {self.step_gb:.1f} GB; "
            f"{self.floor_share:.0%} reached",
            "machine speed": f"{self.machine_gflop_per_s:.0f} GFLOP/s, {self.machine_gb_per_s:.1f} GB/s",
            "peak memory": f"{self.peak_memory_mb:.0f} MB, plain {self.plain_peak_memory_mb:.0f} MB",
            "workload": f"batch {self.batch_size}, {self.num_steps} steps, {self.size} x {self.size}, "
            f"{'recompute, ' if self.recompute else ''}{self.device}; plain in float32",
            **self.machine,
        }


def run(workload: Workload | None = None, *, num_turns: int = 5) -> TrainBenchReport:
    """Measure: plain PyTorch and this project in each precision warm up, then they take `num_turns` turns."""
    workload = workload or Workload()
    chosen, precisions = workload.precision, precisions_here(workload)
    with ExitStack() as stack:
        processes: dict[str, Contestant] = {
            name: stack.enter_context(Contestant("ours", replace(workload, precision=name))) for name in precisions
        }
        processes["plain"] = stack.enter_context(Contestant("plain", workload))
        ours = processes[chosen]
        evaluations = [("plain", "evaluate"), *((chosen, f"evaluate {name}") for name in ours.ask("evaluations"))]
        tasks = [(name, "step") for name in processes] + evaluations
        times: dict[tuple[str, str], list[float]] = {task: [] for task in tasks}
        parts_of_turns: list[dict[str, float]] = []
        speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in precisions}
        for turn in range(num_turns + 1):
            for name, question in tasks:
                seconds = processes[name].ask(question)
                if turn:
                    times[name, question].append(seconds)
            parts_of_turns.append(ours.ask("parts"))
            for name in precisions:
                speeds[name].append(processes[name].ask("speed"))
        agreement = ours.ask("agreement")
        peaks = {name: process.ask("peak") for name, process in processes.items()}
        device = ours.ask("device")
    parts = {name: statistics.median(turn[name] for turn in parts_of_turns[1:]) for name in PARTS}
    ms = {key: statistics.median(values) * 1e3 for key, values in times.items()}
    floors = {name: _floor(replace(workload, precision=name), speeds[name]) for name in precisions}
    step_ms, plain_ms = {name: ms[name, "step"] for name in precisions}, ms["plain", "step"]
    evaluate_ms = {question.split()[1]: ms[name, question] for name, question in evaluations[1:]}
    fastest = min(evaluate_ms, key=lambda precision: evaluate_ms[precision])
    return TrainBenchReport(
        step_ms=step_ms[chosen],
        plain_step_ms=plain_ms,
        train_ratio=plain_ms / step_ms[chosen],
        train_ratios={name: plain_ms / step_ms[name] for name in precisions},
        evaluate_precision=fastest,
        evaluate_ms=evaluate_ms[fastest],
        plain_evaluate_ms=ms["plain", "evaluate"],
        evaluate_ratio=ms["plain", "evaluate"] / evaluate_ms[fastest],
        evaluate_ratios={name: ms["plain", "evaluate"] / found for name, found in evaluate_ms.items()},
        agreement=agreement,
        pairs_per_s=workload.batch_size / step_ms[chosen] * 1e3,
        epoch_s=EPOCH_PAIRS / workload.batch_size * step_ms[chosen] / 1e3,
        parts_ms={name: seconds * 1e3 for name, seconds in parts.items()},
        data_share=parts["data"] / sum(parts.values()),
        floor_ms=floors[chosen].ms,
        floor_share=floors[chosen].ms / step_ms[chosen],
        floor_shares={name: floors[name].ms / step_ms[name] for name in precisions},
        step_gflop=floors[chosen].flop / 1e9,
        step_gb=floors[chosen].num_bytes / 1e9,
        machine_gflop_per_s=floors[chosen].flop_per_s / 1e9,
        machine_gb_per_s=floors[chosen].bytes_per_s / 1e9,
        peak_memory_mb=peaks[chosen],
        plain_peak_memory_mb=peaks["plain"],
        batch_size=workload.batch_size,
        num_steps=workload.num_steps,
        size=workload.size,
        precision=chosen,
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


def choose_precision(device: str, precision: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """What "auto" stands for: bfloat16 where the device computes in it, else float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_native_bfloat16(select_device(device)) else "float32"


def precisions_here(workload: Workload) -> list[Precision]:
    """What is trained in: float32, and bfloat16 where the device computes in it or the workload asks for it."""
    native = has_native_bfloat16(select_device(workload.device))
    return ["float32", "bfloat16"] if native or workload.precision == "bfloat16" else ["float32"]


class _Floor(NamedTuple):
    ms: float
    flop: float
    num_bytes: float
    flop_per_s: float
    bytes_per_s: float


def _floor(workload: Workload, speeds: list[tuple[float, float]]) -> _Floor:
    flop, num_bytes = count_step(workload)
    flop_per_s, bytes_per_s = (statistics.median(speed) for speed in zip(*speeds, strict=True))
    return _Floor(max(flop / flop_per_s, num_bytes / bytes_per_s) * 1e3, flop, num_bytes, flop_per_s, bytes_per_s)


def count_step(workload: Workload) -> tuple[float, float]:
    """Floating point operations and bytes that a step of both branches needs, direct convolutions in its precision.

    Each convolution runs forward, for its weights' gradient and, but for the first, for its input's. Bytes: a block
    writes and reads its current and its spikes once in the forward pass, and again with their gradients backward;
    weights, gradients and AdamW's two moments, float32, are read and written once.
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
    return flop, (2 if workload.precision == "bfloat16" else 4) * 8 * activations + 32 * parameters
