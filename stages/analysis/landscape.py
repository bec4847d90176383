"""The loss around the trained weights along random directions (Li et al., "Visualizing the Loss Landscape of Neural
Nets", NeurIPS 2018), filter by filter of the length of the weights:  d[i, j] <- d[i, j] / |d[i, j]| * |w[i, j]|.

Biases, batch norm and the loss's coefficients, all parameters of one axis, have direction 0, and batch norm keeps its
running statistics. The loss is TET's of the event branch with its default weight, without label smoothing and without
the learned weights of the steps, in evaluation mode without augmentation, whatever the run was trained with: it can be
compared between all methods.

Each point is written to `landscape.jsonl` when it is known; an interrupted analysis goes on behind the last one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from ...cache.documents import parse_json, read_document
from ...cache.durable import append_json
from ..network.networks import SpikingNetwork
from ..training.config import LossConfig
from ..training.losses import classification_loss
from . import style
from .arrays import Arrays
from .config import LandscapeConfig
from .results import AnalysisReport, Fields, Progress, Samples, Subject, no_progress, result_path

Weights = dict[str, Tensor]
LOSS = "event classification loss (TET), steps weighted equally, evaluation mode"
LOG_FROM = 30.0  # ratio of the largest to the smallest loss from which they are drawn on a logarithmic scale
TITLE = "Loss landscape"
READING = (
    "The trained weights lie at the centre, and a wide, even basin stands for a loss that changes little with the "
    "weights; directions are as long as each filter, so landscapes of different runs can be compared."
)


class Point(NamedTuple):
    """Where the loss is taken, in lengths of the filters along both directions, and what it is there."""

    x: float
    y: float
    loss: float
    accuracy: float


class Report(AnalysisReport):
    """Arrays: line_x (P,), line_loss and line_accuracy (P,) along the first direction; x, y (Q,) and loss, accuracy
    (Q, Q), rows along y. Losses that are not finite are NaN."""

    loss: str = LOSS
    loss_at_weights: float
    accuracy_at_weights: float = Field(description="top-1 in [0, 1] on the recordings that the loss is the mean of")
    highest_loss: float


def measure(subject: Subject, config: LandscapeConfig, progress: Progress) -> tuple[Fields, Arrays]:
    line = _coordinates(config.extent, config.points_1d)
    side = _coordinates(config.extent, config.points_2d)
    wanted = [(0.0, 0.0), *((x, 0.0) for x in line), *((x, y) for y in side for x in side)]
    diary = result_path(subject.folder, "landscape", ".jsonl")
    known = _known_points(diary, subject.fingerprint)
    missing = [place for place in dict.fromkeys(wanted) if place not in known]
    if missing:
        batches = list(subject.batches(config.batch_size, "reading", no_progress))
        with progress("landscape", len(missing)) as advance:
            for point in losses_at(missing, subject.network, batches, LossConfig(), config.seed):
                append_json(diary, point)
                known[point.x, point.y] = point
                advance()
    along = np.array([known[x, 0.0] for x in line])
    square = np.array([[known[x, y] for x in side] for y in side])
    arrays = {"line_x": along[:, 0], "line_loss": along[:, 2], "line_accuracy": along[:, 3]}
    arrays |= {"x": np.array(side), "y": np.array(side), "loss": square[..., 2], "accuracy": square[..., 3]}
    _, _, loss, accuracy = known[0.0, 0.0]
    highest = float(np.nanmax(arrays["loss"]))
    return {"loss_at_weights": loss, "accuracy_at_weights": accuracy, "highest_loss": highest}, arrays


def _coordinates(extent: float, count: int) -> list[float]:
    """`count` places from -extent to extent, the middle one exactly 0."""
    return [extent * (2 * index - (count - 1)) / (count - 1) for index in range(count)]


def _known_points(path: Path, fingerprint: str) -> dict[tuple[float, float], Point]:
    """What an interrupted analysis of the same weights, data and settings has left; the file then goes on behind it.

    Nothing of a file with a damaged line is used.
    """
    lines = read_document(path).splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]  # a killed writer may leave half a line
    header = json.dumps({"fingerprint": fingerprint}).encode() + b"\n"
    try:
        points = [Point(*map(float, parse_json(line))) for line in whole[1:]]
    except (ValueError, TypeError):
        whole = []
    if whole[:1] != [header]:
        whole, points = [header], []
    path.write_bytes(b"".join(whole))
    return {(point.x, point.y): point for point in points}


def losses_at(
    places: Iterable[tuple[float, float]],
    network: SpikingNetwork,
    batches: list[Samples],
    config: LossConfig,
    seed: int,
) -> Iterator[Point]:
    """The loss and accuracy at each place; the network keeps its own weights."""
    weights = dict(network.named_parameters())
    first, second = (random_direction(network, seed, index) for index in range(2))
    for x, y in places:
        with torch.no_grad():
            moved = {key: w + x * first[key] + y * second[key] for key, w in weights.items()}
        yield Point(x, y, *mean_loss(network, moved, batches, config))


def random_direction(network: nn.Module, seed: int, index: int) -> Weights:
    """Direction `index` for each parameter: Gaussian, each filter as long as the network's; 0 for those of one axis."""
    generator = torch.Generator().manual_seed(2 * seed + index)
    direction = {}
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2:
            direction[name] = torch.zeros_like(parameter)
            continue
        drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype).to(parameter.device).flatten(1)
        lengths = parameter.detach().flatten(1).norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
        direction[name] = (drawn * lengths).view_as(parameter)
    return direction


@torch.inference_mode()
def mean_loss(
    network: SpikingNetwork, weights: Weights, batches: Iterable[Samples], config: LossConfig
) -> tuple[float, float]:
    """`LOSS` and top-1 in [0, 1] of other weights on the recordings of all batches; NaN for a loss not finite."""
    loss, num_right, num = 0.0, 0, 0
    for batch in batches:
        logits = functional_call(network, weights, (batch.events, "event")).float()
        loss += float(classification_loss(logits, batch.labels, config)) * len(batch.labels)
        num_right += int((logits.mean(0).argmax(1) == batch.labels).sum())
        num += len(batch.labels)
    return (loss / num if math.isfinite(loss) else math.nan), num_right / num


def draw(report: Report, arrays: Arrays) -> Figure:
    """The line, the square as contours, and as a surface; a logarithmic scale where the losses differ much."""
    loss = np.ma.masked_invalid(arrays["loss"])
    is_log = loss.max() > LOG_FROM * loss.min() > 0
    levels = (np.geomspace if is_log else np.linspace)(loss.min(), max(loss.max(), loss.min() + 1e-9), 16)
    norm = (LogNorm if is_log else Normalize)(levels[0], levels[-1])
    figure = style.new_figure(12, 3.6)
    line_axis, contour_axis = figure.add_subplot(1, 3, 1), figure.add_subplot(1, 3, 2)
    _draw_line(line_axis, arrays, "log" if is_log else "linear")
    filled = contour_axis.contourf(arrays["x"], arrays["y"], loss, levels, cmap=style.SEQUENTIAL, norm=norm)
    contour_axis.contour(arrays["x"], arrays["y"], loss, levels, colors="white", linewidths=0.4, alpha=0.6)
    contour_axis.plot(0, 0, "+", color="white", ms=9)
    contour_axis.set_aspect("equal")
    style.finish(
        contour_axis, title="contours (+ trained weights)", xlabel="first direction", ylabel="second direction"
    )
    scale = {"shrink": 0.8, "ticks": levels[::3], "format": lambda value, _: f"{value:.3g}"}
    style.colour_bar(figure, filled, contour_axis, "loss", **scale)
    _draw_surface(figure.add_subplot(1, 3, 3, projection="3d"), arrays, loss, is_log)
    return figure


def _draw_line(axis: Any, arrays: Arrays, scale: str) -> None:
    other = axis.twinx()
    axis.plot(arrays["line_x"], arrays["line_loss"], color=style.SERIES[0])
    other.plot(arrays["line_x"], 100 * arrays["line_accuracy"], color=style.SERIES[1], ls="--")
    axis.set_yscale(scale)
    style.finish(axis, title="along the first direction", xlabel="distance (filter lengths)", ylabel="loss")
    style.finish(other, ylabel="top-1 (%), dashed", ylim=(0, 100))
    for side, colour in ((axis, style.SERIES[0]), (other, style.SERIES[1])):
        side.yaxis.label.set_color(colour)


def _draw_surface(axis: Any, arrays: Arrays, loss: Any, is_log: bool) -> None:
    heights = (np.ma.log10(loss) if is_log else loss).filled(np.nan)
    axis.plot_surface(
        *np.meshgrid(arrays["x"], arrays["y"]), heights, cmap=style.SEQUENTIAL, lw=0, rstride=1, cstride=1
    )
    axis.set(xlabel="first direction", ylabel="second direction")
    axis.set_facecolor("none")
    axis.set_title("surface, height: log₁₀ loss" if is_log else "surface, height: loss", color=style.INK, fontsize=9)
    for side in (axis.xaxis, axis.yaxis, axis.zaxis):
        side.set_pane_color((0, 0, 0, 0))
        side.label.set(color=style.INK, fontsize=8)
        side.line.set_color(style.INK)
        side.set_major_locator(MaxNLocator(5))
    axis.tick_params(colors=style.INK, labelsize=7)
    axis.set_box_aspect(None, zoom=0.95)  # room for the ticks
