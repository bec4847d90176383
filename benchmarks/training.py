"""How fast the method trains and evaluates, beside a plain implementation and beside what the machine can do.

The implementations take turns. The floor counts the multiplications and the bytes that a step cannot do without, at the
speed that the same process reaches with one large convolution and one large copy, measured in each turn.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any, Literal

import torch

from ..stages.network.runtime import has_native_bfloat16, select_device
from .contestants import NUM_CLASSES, PARTS, Precision, Workload, answer
from .measure import Figures, in_turns, machine

EPOCH_PAIRS = 7838  # training recordings of N-Caltech101 in the released code's split
Ask = Callable[..., Any]


def run(workload: Workload | None = None, *, num_turns: int = 5) -> Figures:
    """Measure plain PyTorch (in float32) and this project in each precision: medians of a whole step and of a whole
    batch's evaluation, in ms, of the workload's precision unless said otherwise.

    Dictionaries have an entry for each precision that this machine has; a ratio is the time of plain PyTorch over that
    of this project. `evaluate_ratio`: of the fastest precision to evaluate in, `evaluate_precision`. `agreement`: share
    of recordings with the class that float32 predicts, with the same weights, of few steps. `epoch_s`: an epoch of
    N-Caltech101, 7,838 pairs, at this speed. `floor_share`: floor over step, 1 is the best that the machine can do with
    direct convolutions. `data_share`: of the step. `draw_ms`: what a step that draws its photos as saccades takes more;
    `draw_kernels_ms`: on a GPU, the kernels of that without their launches; `..._share`: of such a step. Peak memory in
    MB: of the device, on a CPU of the process.
    """
    workload = workload or Workload()
    chosen, precisions = workload.precision, precisions_here(workload)
    with ExitStack() as stack:
        ours = {name: _process(stack, "ours", replace(workload, precision=name)) for name in precisions}
        plain = _process(stack, "plain", workload)
        steps = {f"step {name}": partial(ask, "seconds", "step") for name, ask in ours.items()}
        evaluations = {name: partial(ours[chosen], "seconds", "evaluate", name) for name in ours[chosen]("precisions")}
        tasks = {
            **steps,
            "plain step": partial(plain, "seconds", "step"),
            "plain evaluation": partial(plain, "seconds", "evaluate"),
            **{f"evaluation {name}": ask for name, ask in evaluations.items()},
            "parts": partial(ours[chosen], "parts"),
            "drawing": partial(ours[chosen], "seconds", "draw"),
            "kernels of drawing": partial(ours[chosen], "draw_kernels"),
            **{f"speed {name}": partial(ask, "speed") for name, ask in ours.items()},
        }
        found: dict[str, list[Any]] = in_turns(tasks, num_turns)
        agreement, device = ours[chosen]("agreement"), ours[chosen]("device_name")
        peak_mb, plain_peak_mb = ours[chosen]("peak_mb"), plain("peak_mb")
    parts_ms = {name: median(turn[name] for turn in found["parts"]) * 1e3 for name in PARTS}
    steps_ms = {name: median(found[f"step {name}"]) * 1e3 for name in precisions}
    evaluations_ms = {name: median(found[f"evaluation {name}"]) * 1e3 for name in evaluations}
    plain_ms, plain_evaluate_ms = (median(found[f"plain {name}"]) * 1e3 for name in ("step", "evaluation"))
    draw_ms, kernels = median(found["drawing"]) * 1e3, [of for of in found["kernels of drawing"] if of is not None]
    draws_ms = {"draw": draw_ms} | ({"draw_kernels": median(kernels) * 1e3} if kernels else {})
    fastest = min(evaluations_ms, key=lambda precision: evaluations_ms[precision])
    floors = {}
    for name in precisions:
        flop, num_bytes = count_step(replace(workload, precision=name))
        flop_per_s, bytes_per_s = (median(speed) for speed in zip(*found[f"speed {name}"], strict=True))
        floors[name] = {
            "floor_ms": max(flop / flop_per_s, num_bytes / bytes_per_s) * 1e3,
            "step_gflop": flop / 1e9,
            "step_gb": num_bytes / 1e9,
            "machine_gflop_per_s": flop_per_s / 1e9,
            "machine_gb_per_s": bytes_per_s / 1e9,
        }
    shares = {name: floors[name]["floor_ms"] / steps_ms[name] for name in precisions}
    return {
        "machine": {"threads": str(torch.get_num_threads()), **machine(packages="torch")},
        "targets": {"train_ratio": 2.5, "evaluate_ratio": 4.0},
        **{name: getattr(workload, name) for name in ("batch_size", "num_steps", "size", "precision", "recompute")},
        "device": device,
        **floors[chosen],
        "floor_share": shares[chosen],
        "floor_shares": shares,
        "parts_ms": parts_ms,
        "data_share": parts_ms["data"] / sum(parts_ms.values()),
        **{f"{name}_ms": ms for name, ms in draws_ms.items()},
        **{f"{name}_share": ms / (steps_ms[chosen] + ms) for name, ms in draws_ms.items()},
        "evaluate_precision": fastest,
        "evaluate_ms": evaluations_ms[fastest],
        "plain_evaluate_ms": plain_evaluate_ms,
        "evaluate_ratio": plain_evaluate_ms / evaluations_ms[fastest],
        "evaluate_ratios": {name: plain_evaluate_ms / ms for name, ms in evaluations_ms.items()},
        "agreement": agreement,
        "train_ratio": plain_ms / steps_ms[chosen],
        "train_ratios": {name: plain_ms / ms for name, ms in steps_ms.items()},
        "step_ms": steps_ms[chosen],
        "plain_step_ms": plain_ms,
        "pairs_per_s": workload.batch_size / steps_ms[chosen] * 1e3,
        "epoch_s": EPOCH_PAIRS / workload.batch_size * steps_ms[chosen] / 1e3,
        "peak_memory_mb": peak_mb,
        "plain_peak_memory_mb": plain_peak_mb,
    }


def _process(stack: ExitStack, name: str, workload: Workload) -> Ask:
    """A process that holds one implementation, so that neither's memory settings help or hurt the other, and how to ask
    it. Raises BrokenProcessPool where it died; its message is on stderr.
    """
    pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
    return lambda *question: pool.submit(answer, name, workload, *question).result()


def choose_precision(device: str, precision: Literal["auto", "float32", "bfloat16"]) -> Precision:
    """What "auto" stands for: bfloat16 where the device computes in it, else float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_native_bfloat16(select_device(device)) else "float32"


def precisions_here(workload: Workload) -> list[Precision]:
    """What is trained in: float32, and bfloat16 where the device computes in it or the workload asks for it."""
    native = has_native_bfloat16(select_device(workload.device))
    return ["float32", "bfloat16"] if native or workload.precision == "bfloat16" else ["float32"]


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
