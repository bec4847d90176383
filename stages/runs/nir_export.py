"""A trained network as a graph of NIR (Pedersen et al., Nature Communications 15, 2024), which other frameworks read.

The graph is the event branch in evaluation mode: convolutions with the batch norm's running statistics of events in
their weights, neurons, pools, the event head. One step of the network is `DT_S` of NIR's time, by Euler's method:

    tau dv/dt = v_leak - v + r I     ->     v += DT_S / tau * (v_leak - v + r I)

which with tau = DT_S * LifConstants.tau, r = 1 and v_leak = 0 is the charge of `network.lif`; spike where v exceeds
v_threshold, and then v = v_reset = 0, are NIR's rules as they are this network's. What reads it: docs/exchange.md.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache import durable
from ...cache.errors import ConfigError, TrainingError
from ..network.config import ARCHITECTURES
from ..network.layers import EPSILON, POOLED_PIXELS, AveragePool, SpikingConv, SpikingLayer, SpikingLinear
from ..network.lif import LifConstants
from ..network.networks import NUM_POLARITIES, FeedForward, SpikingNetwork
from .checkpoint import load_weights

DT_S = 1e-4  # a time step, s; snnTorch takes no other


@dataclass(frozen=True)
class NirReport:
    """The graph that was written. neurons: of all layers. dt_s: a time step of the network. size: pixels."""

    file: Path
    network: str
    epoch: int
    nodes: int
    neurons: int
    num_steps: int
    size: int
    dt_s: float
    num_bytes: int


def export(weights: Path, path: Path) -> NirReport:
    """Write the network of the checkpoint `weights` to `path`.

    Raises TrainingError: no weights, or a network without a faithful graph. ConfigError: nir is not installed.
    """
    network, info = load_weights(weights, torch.device("cpu"))
    graph = graph_of(network, info.model.name, info.size)
    graph.metadata = {
        "dt": np.float64(DT_S),
        "num_steps": np.int64(info.num_steps),
        "classes": "\n".join(info.class_names),
        "written_by": "dvs-transfer",
    }
    nir, buffer = _nir(), io.BytesIO()
    nir.write(buffer, graph)
    durable.write_bytes(path, buffer.getvalue())
    return NirReport(
        file=path,
        network=info.model.name,
        epoch=info.epoch,
        nodes=len(graph.nodes),
        neurons=sum(node.tau.size for node in graph.nodes.values() if isinstance(node, nir.LIF)),
        num_steps=info.num_steps,
        size=info.size,
        dt_s=DT_S,
        num_bytes=path.stat().st_size,
    )


def graph_of(network: SpikingNetwork, name: str, size: int) -> Any:
    """The `nir.NIRGraph` of a network for frames of size x size pixels; `name` is for messages."""
    backbone = network.backbone
    if name not in ARCHITECTURES or not isinstance(backbone, FeedForward):
        raise TrainingError(_why_not(name))
    nir = _nir()
    shape: tuple[int, ...] = (NUM_POLARITIES, size, size)
    nodes = {"input": nir.Input(np.array(shape))}
    share = 1.0  # of what arrives here, that is meant: pools give sums, since few read averages

    def neurons(number: int, layer: SpikingLayer) -> None:
        nodes[f"neurons_{number}"] = _lif(nir, layer.neurons.constants, shape)

    def affine(name: str, layer: torch.nn.Linear) -> None:
        nonlocal shape
        if len(shape) > 1:
            nodes[f"flatten_{name}"] = nir.Flatten(np.array(shape), start_dim=0, end_dim=-1)
        nodes[name] = nir.Affine(weight=_float32(layer.weight * share), bias=_float32(layer.bias))
        shape = (layer.out_features,)

    for number, layer in enumerate(backbone):
        if isinstance(layer, AveragePool):
            two = np.array([2, 2])
            nodes[f"pool_{number}"] = nir.SumPool2d(kernel_size=two, stride=two, padding=np.array([0, 0]))
            shape, share = (shape[0], shape[1] // 2, shape[2] // 2), share / POOLED_PIXELS
        elif isinstance(layer, SpikingConv):
            node = _convolution(nir, layer, shape[1:], share)
            nodes[f"conv_{number}"], shape = node, tuple(node.output_type["output"].tolist())
            neurons(number, layer)
            share = 1.0
        elif isinstance(layer, SpikingLinear):
            affine(f"linear_{number}", layer.linear)
            neurons(number, layer)
            share = 1.0
        else:
            raise TrainingError(_why_not(name))
    affine("head", network.event_head)  # type: ignore[arg-type]
    nodes["output"] = nir.Output(np.array(shape))
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(zip(names, names[1:], strict=False)))


def _convolution(nir: Any, layer: SpikingConv, pixels: tuple[int, ...], share: float) -> Any:
    """The convolution, with what its batch norm does to an output in evaluation: times `factor`, plus `offset`."""
    weight = layer.conv.weight.double()
    offset = torch.zeros(len(weight), dtype=torch.float64)
    if layer.norm is not None:
        mean, variance = (statistic.double() for statistic in layer.norm.running("event"))
        factor = layer.norm.weight.double() / (variance + EPSILON).sqrt()
        weight, offset = weight * factor[:, None, None, None], layer.norm.bias.double() - mean * factor
    return nir.Conv2d(
        input_shape=pixels,
        weight=_float32(weight * share),
        stride=layer.conv.stride,
        padding=layer.conv.padding,
        dilation=layer.conv.dilation,
        groups=layer.conv.groups,
        bias=_float32(offset),
    )


def _lif(nir: Any, constants: LifConstants, shape: tuple[int, ...]) -> Any:
    """An array for each constant, as large as the layer: some readers take nothing smaller."""
    return nir.LIF(
        tau=np.full(shape, constants.tau * DT_S),
        r=np.ones(shape),
        v_leak=np.zeros(shape),
        v_threshold=np.full(shape, constants.threshold),
        v_reset=np.zeros(shape),
    )


def _float32(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.detach().float().numpy())


def _why_not(name: str) -> str:
    if name == "resnet18":
        return (
            "resnet18: no NIR graph says what it computes: its batch norms stand behind sums of branches, where there "
            "are no weights to take them up, and its head reads means over pixels; export vgg_snn, vgg_snn_small or scnn"
        )
    return (
        f"{name}: is a network of your own, and what its layers compute is not known here; export vgg_snn, "
        "vgg_snn_small or scnn, or write its graph with nirtorch"
    )


def _nir() -> Any:
    try:
        import nir
    except ImportError:
        raise ConfigError("NIR graphs are written with nir, which is not installed: pip install 'dvs-transfer[nir]'") from None
    return nir
