"""How alike the two domains are inside the network, before and after training.

CKA (Kornblith et al., ICML 2019) of what recordings and their images cause, layer by layer and step by step. The
loss's own CKA over a batch is biased upwards, the more the fewer the samples and the wider the layer; layers could not
be compared. Here it is made of unbiased estimates that are averaged over batches before the quotient is taken
(Nguyen, Raghu & Kornblith, ICLR 2021, equations 2 and 3, with HSIC_1 of Song et al., JMLR 2012):

    CKA = mean HSIC_1(K, L) / sqrt(mean HSIC_1(K, K) * mean HSIC_1(L, L)),   K = XX', L = YY' with diagonals of 0

It is about 0 for features that have nothing in common (so it can be a little below), and 1 for equal ones.
Batch norm uses the batch's own statistics, as in training: an untrained network has no others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor

from ...cache.errors import TrainingError
from ..network.layers import Domain
from ..network.networks import SpikingNetwork, build_network
from ..network.prediction import spikes_of
from ..runs.metrics import read_metrics
from ..training.methods import method_class
from . import style
from .arrays import Arrays
from .config import AlignmentConfig
from .results import AnalysisReport, Fields, Progress, Subject

FEATURES = "aligned features"
_ROUNDING = 1e-5  # features that vary by less of their size do not: float32 rounds them so
Steps = tuple[float | None, ...]
TITLE = "Alignment of the domains"
READING = (
    "CKA is 0 where recordings and images cause unrelated activity and 1 where it is the same up to rotation and "
    "scale; what rose from before to after training is what the transfer aligned."
)


class Report(AnalysisReport):
    """CKA between recordings and images. `trained` and `initial` (layers, T): None where a layer is silent."""

    layers: tuple[str, ...] = Field(description="layers of neurons (their spikes), then the features that are aligned")
    trained: tuple[Steps, ...]
    initial: tuple[Steps, ...] | None = Field(description="of the same network before training; None: not known")
    aligned_features: float | None = Field(
        description="CKA of the aligned features after training, mean of the steps that have one"
    )
    aligned_features_initial: float | None = Field(description="the same before training")
    epochs: tuple[int, ...] = Field(description="epochs of the two series below; none: recordings alone, imported")
    w_t: tuple[tuple[float, ...], ...] = Field(description="(epochs, T) learned coefficients; empty: not learned")
    sliding_probability: tuple[float, ...]


def measure(subject: Subject, config: AlignmentConfig, progress: Progress) -> tuple[Fields, Arrays]:
    if not subject.split.has_images:
        raise TrainingError(f"{subject.folder}: was trained without images; there is nothing that could be aligned")
    trained = cka_of_layers(subject, subject.network, config, progress)
    initial = None
    if subject.training is not None:
        info = subject.info
        shape = {"num_classes": len(info.class_names), "num_steps": info.num_steps, "size": info.size}
        network = build_network(info.model, **shape, seed=subject.training.seed)
        initial = cka_of_layers(subject, network.to(subject.device), config, progress)
    slides = subject.info.method != "imported" and method_class(subject.info.method).uses_images
    metrics = read_metrics(subject.folder) if slides else []
    learned = metrics and metrics[0].get("w_t") is not None
    return {
        "layers": tuple(trained),
        "trained": _rows(trained),
        "initial": None if initial is None else _rows(initial),
        "aligned_features": _mean(trained[FEATURES]),
        "aligned_features_initial": None if initial is None else _mean(initial[FEATURES]),
        "epochs": [line["epoch"] for line in metrics],
        "w_t": [line["w_t"] for line in metrics] if learned else [],
        "sliding_probability": [line["sliding_probability"] for line in metrics],
        "note": "" if initial is not None else "imported weights: what they were before training is not known",
    }, {}


@torch.inference_mode()
def cka_of_layers(
    subject: Subject, network: SpikingNetwork, config: AlignmentConfig, progress: Progress
) -> dict[str, Tensor]:
    """CKA (T,) between the domains of each layer's spikes and of the aligned features; NaN where a layer is silent, or
    the same for all samples."""
    network.train()
    sums: dict[str, Tensor] = {}
    for batch in subject.batches(config.batch_size, "alignment", progress):
        assert batch.photos is not None
        static = _similarities(network, batch.photos, "static")
        event = _similarities(network, batch.events, "event")
        for name, k in static.items():
            l = event[name]  # noqa: E741 - K and L, as in the paper
            terms = torch.stack([hsic(k, l), hsic(k, k), hsic(l, l)])
            sums[name] = sums.get(name, 0) + terms
    network.eval()
    return {name: (kl / (kk * ll).clamp(min=0).sqrt()).cpu() for name, (kl, kk, ll) in sums.items()}


def _similarities(network: SpikingNetwork, frames: Tensor, domain: Domain) -> Mapping[str, Tensor]:
    """XX' (T, B, B) of each layer's spikes and of the aligned features, in float64."""
    with spikes_of(network, gram) as kept:
        network(frames, domain)
    # Outside: the layers' spikes are the same again.
    _, features = network.with_features(frames, domain)
    return {**kept, FEATURES: gram(features)}


def gram(x: Tensor) -> Tensor:
    """XX' (T, B, B) of features (T, B, ...) less their mean over the batch, with a diagonal of 0.

    HSIC_1 is the same without the mean, but for rounding, of which alone it consists where features do not vary: they
    are 0 then.
    """
    x = x.flatten(2)
    varying = x - x.mean(1, keepdim=True)
    is_constant = varying.square().sum((1, 2)) <= _ROUNDING**2 * x.square().sum((1, 2))
    x = varying.masked_fill(is_constant[:, None, None], 0)
    products = (x @ x.mT).double()
    return products - torch.diag_embed(products.diagonal(dim1=-2, dim2=-1))


def hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """HSIC_1 (T,) of k and l (T, n, n), symmetric with diagonals of 0, n at least 4.

    (tr KL + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'KL1) / (n (n - 3))
    """
    n = k.shape[-1]
    trace = (k * l).sum((-2, -1))
    sums = k.sum((-2, -1)) * l.sum((-2, -1)) / ((n - 1) * (n - 2))
    crossed = 2 / (n - 2) * (k.sum(-2) * l.sum(-2)).sum(-1)
    return (trace + sums - crossed) / (n * (n - 3))


def _rows(layers: Mapping[str, Tensor]) -> list[list[float | None]]:
    return [[value if np.isfinite(value) else None for value in steps.tolist()] for steps in layers.values()]


def _mean(steps: Tensor) -> float | None:
    mean = float(steps[steps.isfinite()].mean())  # NaN of no steps
    return mean if np.isfinite(mean) else None


def draw(report: Report, arrays: Arrays) -> Figure:
    """CKA before and after training, and what training noted of w_t and sliding."""
    has_metrics = bool(report.epochs)
    heights = [1.6 + 0.22 * len(report.layers), 2.4][: 1 + has_metrics]
    figure = style.new_figure(10, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, facecolor="none", height_ratios=heights)[:, 0]
    tables = [("after training", report.trained)]
    if report.initial is not None:
        tables.insert(0, ("before training", report.initial))
    axes = parts[0].subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, (name, values) in zip(axes, tables, strict=True):
        drawn = style.heat_map(axis, values, report.layers, (0, 1), f"CKA of recordings and images, {name}")
    style.colour_bar(parts[0], drawn, list(axes), "CKA (unbiased)")
    if has_metrics:
        left, right = parts[1].subplots(1, 2)
        for t, series in enumerate(zip(*report.w_t, strict=True)):
            left.plot(report.epochs, series, **style.line_look(t), label=f"step {t + 1}")
        style.finish(left, title="learned coefficient of each time step", xlabel="epoch", ylabel="wₜ")
        if report.w_t:
            style.legend_beside(left)
        else:
            left.text(0.5, 0.5, "not learned in this run", color=style.INK, ha="center", transform=left.transAxes)
        right.plot(report.epochs, report.sliding_probability, color=style.SERIES[0])
        share = {"ylabel": "replaced images (share)", "ylim": (-0.03, 1.03)}
        style.finish(right, title="sliding training", xlabel="epoch", **share)
    return figure
