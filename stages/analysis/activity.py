"""How much a network spikes, the synaptic operations that this causes, and an estimate of their energy.

    E_SNN = sum over layers of  MACs * T * 4.6 pJ   where the input is analog (frames; what a ResNet's head reads)
                                ACs * 0.9 pJ        where it is spikes
    E_ANN = sum over layers of  MACs * 4.6 pJ       of the same layers without spikes, which see one frame once

4.6 pJ is a 32-bit floating-point multiplication with addition (3.7 + 0.9), 0.9 pJ the addition alone, at 45 nm:
Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014.

An AC is one addition of a weight to a membrane: a spike causes as many as it has synapses. They are counted from the
spikes that were sent, each times the outputs that its own pixel reaches, so that what the borders cut off does not
count; MACs leave it out, too. Behind an average pool of n pixels the input is k / n, the mean of k spikes: it counts as
k accumulations (the factor 1 / n can be part of the weights). Batch norm (foldable), biases, membranes, pools, residual
sums and memory traffic are left out, as usual; the last is most of the energy on real hardware.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from ...cache.documents import Frozen
from ...cache.errors import TrainingError
from ..network.layers import POOLED_PIXELS, AveragePool, Neurons
from ..network.networks import OwnBackbone, ResNet, SpikingNetwork
from ..network.prediction import spikes_of
from . import style
from .arrays import Arrays
from .config import ActivityConfig
from .results import AnalysisReport, Fields, Progress, Subject

PJ_PER_MAC = 4.6
PJ_PER_AC = 0.9
SOURCE = (
    "E_SNN = sum of MACs * T * 4.6 pJ (analog input) and ACs * 0.9 pJ (spikes); E_ANN = MACs * 4.6 pJ; "
    "45 nm: Horowitz, ISSCC 2014"
)
TITLE = "Activity and energy"
READING = (
    "A firing rate of 0.1 is one spike in ten time steps for each neuron; the energy counts arithmetic alone, so "
    "compare it between networks, not with a device."
)


class NeuronLayer(Frozen):
    """A layer of neurons. firing_rates (T,): spikes per neuron at each time step."""

    name: str
    num_neurons: int
    firing_rates: tuple[float, ...]


class SynapseLayer(Frozen):
    """A convolution or linear layer. operations (T,): MACs or ACs at each time step, mean of the recordings."""

    name: str
    operation: Literal["MAC", "AC"]
    macs: int = Field(description="multiply-accumulates of one frame, without those on padding")
    operations: tuple[float, ...]
    snn_energy_uj: float
    ann_energy_uj: float


class Report(AnalysisReport):
    """Firing rates and the energy of naming one recording."""

    neurons: tuple[NeuronLayer, ...]
    synapses: tuple[SynapseLayer, ...]
    firing_rate: float = Field(description="spikes per neuron and time step, all layers together")
    spikes_per_recording: float
    macs: int = Field(description="multiply-accumulates of one frame in the ANN")
    acs_per_recording: float = Field(description="accumulates that spikes cause")
    snn_energy_uj: float
    ann_energy_uj: float
    energy_ratio: float = Field(description="ANN's over SNN's energy: above 1 the spikes save")
    energy_source: str = SOURCE


@torch.inference_mode()
def measure(subject: Subject, config: ActivityConfig, progress: Progress) -> tuple[Fields, Arrays]:
    network, num_steps, num = subject.network, subject.info.num_steps, len(subject.rows)
    if isinstance(network.backbone, OwnBackbone):
        raise TrainingError(
            f"spikes and operations are counted in built-in networks; {subject.info.model.name} is none"
        )
    spikes: dict[str, Tensor] = {}
    num_neurons: dict[str, int] = {}
    with count_operations(network, num_steps) as operations:
        for batch in subject.batches(config.batch_size, "activity", progress):
            with spikes_of(network, lambda sent: sent.flatten(2).sum(1)) as kept:  # (T, neurons)
                network(batch.events, "event")
            for name, sent in kept.items():
                num_neurons[name] = sent.shape[1]
                spikes[name] = spikes.get(name, 0) + sent.double().sum(1).cpu()
    neurons = [
        NeuronLayer(name=name, num_neurons=count, firing_rates=(spikes[name] / (num * count)).tolist())
        for name, count in num_neurons.items()
    ]
    synapses = [counter.report(num) for counter in operations.values()]
    total = float(sum(sent.sum() for sent in spikes.values())) / num
    snn, ann = (sum(getattr(layer, f"{kind}_energy_uj") for layer in synapses) for kind in ("snn", "ann"))
    return {
        "neurons": neurons,
        "synapses": synapses,
        "firing_rate": total / (num_steps * sum(num_neurons.values())),
        "spikes_per_recording": total,
        "macs": sum(layer.macs for layer in synapses),
        "acs_per_recording": sum(sum(layer.operations) for layer in synapses if layer.operation == "AC"),
        "snn_energy_uj": snn,
        "ann_energy_uj": ann,
        "energy_ratio": ann / snn,
    }, {}


class OperationCounter:
    """Counts what one layer's inputs cause: analog ones, or spikes averaged over `pooled` pixels (1: not pooled)."""

    def __init__(self, name: str, layer: nn.Conv2d | nn.Linear, num_steps: int, *, analog: bool, pooled: int) -> None:
        self.name, self.layer, self.num_steps, self.analog, self.pooled = name, layer, num_steps, analog, pooled
        self.macs = 0
        self.operations = torch.zeros(num_steps, dtype=torch.float64)

    def count(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A hook before the layer's forward: inputs (T * B, ...) of a convolution, (T, B, D) of a linear layer."""
        x: Tensor = inputs[0]
        reached = fan_out(self.layer, x)
        if isinstance(self.layer, nn.Conv2d):
            x = x.view(self.num_steps, -1, *x.shape[1:])
        self.macs = int(reached.sum() * x[0, 0].numel() / reached.numel())
        if self.analog:
            self.operations += self.macs * x.shape[1]
        else:
            # spikes of all recordings and channels: (T, H, W), or (T,)
            sent = (x.double() * self.pooled).round().sum((1, 2))
            self.operations += (sent.view(self.num_steps, -1) * reached.flatten()).sum(1).cpu()

    def report(self, num_recordings: int) -> SynapseLayer:
        operations = self.operations / num_recordings
        return SynapseLayer(
            name=self.name,
            operation="MAC" if self.analog else "AC",
            macs=self.macs,
            operations=tuple(operations.tolist()),
            snn_energy_uj=float(operations.sum()) * (PJ_PER_MAC if self.analog else PJ_PER_AC) / 1e6,
            ann_energy_uj=self.macs * PJ_PER_MAC / 1e6,
        )


@contextmanager
def count_operations(network: SpikingNetwork, num_steps: int) -> Iterator[dict[str, OperationCounter]]:
    """While it is open: a counter for each layer of the event branch, in order; they count every forward pass."""
    counters: dict[str, OperationCounter] = {}
    pooled = 1  # pixels that an input of the next layer is a mean of
    with ExitStack() as hooks:
        for name, layer in network.named_modules():
            if isinstance(layer, Neurons):
                pooled = 1
            elif isinstance(layer, AveragePool):
                pooled *= POOLED_PIXELS
            elif isinstance(layer, nn.Conv2d | nn.Linear) and layer is not network.static_head:
                analog = not counters or (layer is network.event_head and isinstance(network.backbone, ResNet))
                counters[name] = OperationCounter(name, layer, num_steps, analog=analog, pooled=pooled)
                hooks.enter_context(layer.register_forward_pre_hook(counters[name].count))
        yield counters


def fan_out(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """The outputs that each input of x reaches: (H, W) for images (N, C, H, W), the same in each channel, else (1,)."""
    if isinstance(layer, nn.Linear):
        return torch.full((1,), layer.out_features, dtype=torch.float64, device=x.device)
    image = torch.zeros(1, 1, *x.shape[-2:], dtype=torch.float64, device=x.device)
    kernel = torch.ones(1, 1, *layer.kernel_size, dtype=torch.float64, device=x.device)
    ones = torch.ones_like(F.conv2d(image, kernel, None, layer.stride, layer.padding))
    reached: Tensor = conv2d_input(image.shape, kernel, ones, layer.stride, layer.padding)  # type: ignore[no-untyped-call]
    return reached[0, 0] * layer.out_channels


def draw(report: Report, arrays: Arrays) -> Figure:
    """Firing rates of each layer and step, and the energy of each layer beside the ANN's."""
    rows = max(len(report.neurons), len(report.synapses))
    figure = style.new_figure(10, 1.8 + 0.24 * rows)
    rates_axis, energy_axis = figure.subplots(1, 2)
    rates = np.array([layer.firing_rates for layer in report.neurons])
    names, mean = [layer.name for layer in report.neurons], f"firing rate (mean {report.firing_rate:.3f})"
    drawn = style.heat_map(rates_axis, rates, names, (0, float(rates.max())), mean)
    style.colour_bar(figure, drawn, rates_axis, "spikes per neuron and step")
    places = np.arange(len(report.synapses))
    for shift, kind, colour in ((-0.2, "ann", style.SERIES[1]), (0.2, "snn", style.SERIES[0])):
        values = [getattr(layer, f"{kind}_energy_uj") for layer in report.synapses]
        total = getattr(report, f"{kind}_energy_uj")
        label = f"{kind.upper()}, one frame" if kind == "ann" else f"SNN, {rates.shape[1]} steps"
        energy_axis.barh(places + shift, values, 0.38, color=colour, label=f"{label}: {total:,.4g} µJ in all")
    energy_axis.set_yticks(places, [f"{layer.name} ({layer.operation})" for layer in report.synapses])
    energy_axis.set_ylim(len(places) - 0.4, -0.6)
    style.finish(energy_axis, title="energy of a recording, 45 nm", xlabel="energy (µJ)")
    style.legend(figure, loc="outside lower right", ncols=2)
    return figure
