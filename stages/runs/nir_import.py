"""A graph of NIR as weights of a network of this project, where it maps (`nir_export` writes such graphs).

It maps where it is a chain of what VGG-SNN or SCNN is made of:

    convolution 3 x 3 with padding 1, neurons; pools; affine                                vgg_snn
    convolution 5 x 5 without padding and bias, neurons; pools; affine, neurons; affine     scnn

and all neurons are LIF with one tau, v_leak = v_reset = 0. Resistance r and threshold may differ between layers: only
their ratio counts, which goes into the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from ...cache.errors import TrainingError
from ..network.config import ModelConfig
from ..network.layers import EPSILON, POOLED_PIXELS
from ..network.networks import NUM_POLARITIES
from ..processes import ProcessLostError, RefusedError
from ..sources.formats.isolated import DECODERS
from .nir_export import DT_S
from .released import ReleasedCheckpoint

# Kernel side and padding of a network's convolutions, and what it is made of: "c" convolution and neurons, "P" pool,
# "l" affine and neurons, "h" affine.
_NETWORKS = {"vgg_snn": ((3, 1), r"[cP]*c[cP]*h"), "scnn": ((5, 0), r"[cP]*c[cP]*lh")}
_KINDS = {"Conv2d": "c", "SumPool2d": "P", "AvgPool2d": "P", "Affine": "a", "Linear": "a", "LIF": "n"}


@dataclass(frozen=True)
class _Graph:
    """A graph that is a chain. nodes: names from the first behind the input to the last before the output."""

    path: Path
    nodes: tuple[str, ...]
    types: Mapping[str, str]
    texts: Mapping[str, str]
    arrays: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, Any]
    shape: tuple[int, ...]

    def refusal(self, name: str, what: str) -> TrainingError:
        return TrainingError(f"{self.path}: {name} ({self.types[name]}): {what}; it cannot be imported")

    def array(self, name: str, parameter: str) -> NDArray[Any]:
        try:
            return self.arrays[f"{name}/{parameter}"]
        except KeyError:
            raise self.refusal(name, f"has no array `{parameter}`") from None

    def integers(self, name: str, parameter: str) -> tuple[int, ...]:
        """A number for each direction, rows and columns."""
        values = self.array(name, parameter)
        if values.dtype.kind != "i" or values.shape not in [(1,), (2,)]:
            raise self.refusal(name, f"`{parameter}` is {values.dtype} {values.shape}, expected one or two integers")
        return tuple(np.broadcast_to(values, 2).tolist())

    def uniform(self, name: str, parameter: str) -> float:
        values = self.array(name, parameter)
        if not values.size or values.min() != values.max() or not np.isfinite(values).all():
            raise self.refusal(name, f"has neurons with different `{parameter}`, or none that is a number")
        return float(values.flat[0])


def read_graph(path: Path, num_steps: int) -> ReleasedCheckpoint:
    """The graph in `path` as weights. num_steps: T of the data, which a graph need not say.

    Raises TrainingError, naming the node: no such file, no graph, or one that is none of the networks here.
    """
    graph = _load(path)
    layers = _layers(graph)
    kinds = "".join(kind for kind, _ in layers)
    convolutions = {_geometry(graph, nodes[0]) for kind, nodes in layers if kind == "c"}
    fits = [
        name
        for name, (geometry, pattern) in _NETWORKS.items()
        if convolutions == {geometry} and re.fullmatch(pattern, kinds)
    ]
    if not fits:
        found = ", ".join(f"{side} x {side} with padding {padding}" for (side, padding) in sorted(convolutions))
        raise TrainingError(
            f"{path}: is neither vgg_snn (3 x 3 convolutions with padding 1, neurons and pools, then one affine node) "
            f"nor scnn (5 x 5 without padding, then affine, neurons, affine): its convolutions are {found or 'none'}, its "
            f"nodes {', '.join(graph.types[name] for name in graph.nodes)}; it cannot be imported"
        )
    (name,) = fits
    neurons = [nodes[1] for kind, nodes in layers if kind in "cl"]
    constants = {node: _constants(graph, node) for node in neurons}
    tau, threshold, _ = constants[neurons[0]]
    weights: dict[str, Tensor] = {}
    widths: list[int | str] = []
    share = 1.0  # what arrives here is meant times this: pools of sums
    for place, (kind, nodes) in enumerate(layers):
        if kind == "P":
            _check_pool(graph, nodes[0])
            widths.append("P")
            share *= POOLED_PIXELS if graph.types[nodes[0]] == "SumPool2d" else 1
            continue
        gain = 1.0
        if kind != "h":
            its_tau, its_threshold, resistance = constants[nodes[1]]
            if its_tau != tau:
                raise graph.refusal(nodes[1], f"has tau = {its_tau} steps, other neurons {tau}")
            gain = resistance * threshold / its_threshold
        weight = torch.from_numpy(graph.array(nodes[0], "weight").astype(np.float64))
        bias = torch.zeros(len(weight), dtype=torch.float64)
        if graph.types[nodes[0]] != "Linear":
            bias = torch.from_numpy(graph.array(nodes[0], "bias").astype(np.float64))
        weight, bias, share = (weight * gain * share).float(), (bias * gain).float(), 1.0
        if kind == "c":
            weights[f"backbone.{place}.conv.weight"] = weight
            if name == "vgg_snn":
                weights |= _norm(f"backbone.{place}.norm", bias)
            elif bias.any():
                raise graph.refusal(nodes[0], "has biases; scnn has none")
        else:
            begin = {"l": (f"backbone.{place}.linear",), "h": ("event_head", "static_head")}[kind]
            for key in begin if name == "vgg_snn" else begin[:1]:
                weights |= {f"{key}.weight": weight, f"{key}.bias": bias}
        if kind != "h":
            widths.append(len(weight))
    try:
        constants_here = {"tau": tau, "threshold": threshold, "running_statistics": "shared"}
        model = ModelConfig.model_validate({"name": name, "widths": widths, **constants_here})
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"]))
        raise TrainingError(
            f"{path}: no {name} has {what} = {first['input']} ({first['msg']}); tau is in steps of the graph's dt, "
            f"{graph.metadata.get('dt', DT_S)} s; it cannot be imported"
        ) from None
    dt = graph.metadata.get("dt", DT_S)
    steps, classes = graph.metadata.get("num_steps", num_steps), graph.metadata.get("classes")
    return ReleasedCheckpoint(
        path=path,
        architecture=f"NIR graph (tau {tau:g} steps of {1e3 * dt:g} ms{'' if 'dt' in graph.metadata else ', taken'})",
        model=model,
        num_classes=len(weights["event_head.bias"]),
        num_steps=steps,
        size=graph.shape[-1],
        epoch=None,
        accuracy=None,
        weights=weights | {"coefficients": torch.ones(num_steps)},
        selection="unknown",
        class_names=None if classes is None else tuple(str(classes).split("\n")),
    )


def _layers(graph: _Graph) -> list[tuple[str, tuple[str, ...]]]:
    """What the chain is made of, each with its nodes: see `_NETWORKS`; a node that fits nowhere has its own kind."""
    layers: list[tuple[str, tuple[str, ...]]] = []
    is_flat = False
    for name in graph.nodes:
        kind = _KINDS.get(graph.types[name])
        if kind == "a" and not is_flat:
            raise graph.refusal(name, "takes maps as they are, which is their last dimension; expected a Flatten before")
        if kind in ("c", "P") and is_flat:
            raise graph.refusal(name, "takes what a Flatten made; expected maps")
        if graph.types[name] == "Flatten":
            is_flat = True
            start, end = (graph.integers(name, key)[0] for key in ("start_dim", "end_dim"))
            if start != 0 or end not in (-1, 2):
                raise graph.refusal(name, f"keeps dimensions (start_dim {start}, end_dim {end}; the batch is none)")
        elif kind is None:
            raise graph.refusal(name, f"expected one of {', '.join([*_KINDS, 'Flatten'])}")
        elif kind == "n" and layers and layers[-1][0] in "ca" and len(layers[-1][1]) == 1:
            before, nodes = layers.pop()
            layers.append(({"c": "c", "a": "l"}[before], (*nodes, name)))
        else:
            layers.append((kind, (name,)))
    for kind, nodes in layers:
        if kind == "n" or (kind == "c" and len(nodes) == 1):
            raise graph.refusal(nodes[0], "expected neurons behind a convolution or an affine node, and those alone")
    return [("h" if kind == "a" else kind, nodes) for kind, nodes in layers]


def _geometry(graph: _Graph, name: str) -> tuple[int, int]:
    """Kernel side and padding of a convolution."""
    *_, height, width = (0, 0, *graph.array(name, "weight").shape)
    padding = {"valid": (0, 0), "same": (height // 2, width // 2)}.get(graph.texts.get(f"{name}/padding", ""))
    rows, columns = padding or graph.integers(name, "padding")
    plain = {graph.integers(name, key) for key in ("stride", "dilation", "groups")} == {(1, 1)}
    if height != width or rows != columns or not plain:
        raise graph.refusal(name, "expected square kernels and padding, no stride, dilation or groups")
    return height, rows


def _check_pool(graph: _Graph, name: str) -> None:
    if [graph.integers(name, key) for key in ("kernel_size", "stride", "padding")] != [(2, 2), (2, 2), (0, 0)]:
        raise graph.refusal(name, "expected pools of 2 x 2")


def _constants(graph: _Graph, name: str) -> tuple[float, float, float]:
    """tau in steps, threshold, resistance."""
    dt = graph.metadata.get("dt", DT_S)
    rests = [key for key in ("v_leak", "v_reset") if f"{name}/{key}" in graph.arrays and graph.uniform(name, key) != 0]
    if rests:
        raise graph.refusal(name, f"has {' and '.join(rests)} other than 0")
    tau, threshold, resistance = (graph.uniform(name, key) for key in ("tau", "v_threshold", "r"))
    if not (isinstance(dt, int | float) and dt > 0 and threshold > 0):
        raise graph.refusal(name, f"has the threshold {threshold}, at steps of {dt} s")
    return float(f"{tau / dt:.6g}"), threshold, resistance  # of a float32, six digits are sure


def _norm(key: str, bias: Tensor) -> dict[str, Tensor]:
    """A batch norm that adds the bias and does nothing else."""
    ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
    values = {"weight": ones, "bias": bias, "running_mean": zeros, "running_var": ones - EPSILON}
    return {f"{key}.{name}": value for name, value in values.items()}


def _load(path: Path) -> _Graph:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        with DECODERS.lend() as reader:
            answer = reader.read({"reader": "nir", "path": str(path.absolute())})
            facts = next(answer)
            arrays = {key: array for piece in answer for key, array in piece.items()}
    except (RefusedError, ProcessLostError) as error:
        raise TrainingError(f"{path}: not a NIR graph, or damaged; the process that read it: {error}") from None
    types, edges = facts["types"], [tuple(edge) for edge in facts["edges"]]
    following = dict(edges)
    ends = [[name for name, kind in types.items() if kind == end] for end in ("Input", "Output")]
    if [len(names) for names in ends] != [1, 1] or len(following) != len(edges) or len(edges) != len(types) - 1:
        raise TrainingError(f"{path}: is no chain from one input to one output; only such a graph can be imported")
    (first,), (last,) = ends
    chain = [first]
    while chain[-1] in following and len(chain) <= len(edges):
        chain.append(following[chain[-1]])
    if chain[-1] != last or set(chain) != set(types):
        raise TrainingError(f"{path}: is no chain from its input to its output; only such a graph can be imported")
    shape = tuple(arrays.get(f"{first}/shape", np.zeros(0)).tolist())
    if len(shape) != 3 or shape[0] != NUM_POLARITIES or shape[1] != shape[2]:
        raise TrainingError(f"{path}: takes {shape}, expected square frames of {NUM_POLARITIES} polarities, (2, n, n)")
    return _Graph(path, tuple(chain[1:-1]), types, facts["texts"], arrays, facts["metadata"], shape)
