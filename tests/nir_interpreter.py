"""What a NIR graph computes, in NumPy and float64, from NIR's definitions alone; and who else can run one.

A step of `dt` seconds is one of Euler's: tau dv/dt = v_leak - v + r I, spike where v > v_threshold, then v = v_reset.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

Spikes = dict[str, np.ndarray]  # of each node of neurons, (T, ...)


def run(graph: Any, frames: np.ndarray, dt: float) -> tuple[np.ndarray, Spikes, Spikes]:
    """Outputs (T, n) for frames (T, 2, H, W); spikes; and what the neurons' potentials were before reset."""
    following = dict(graph.edges)
    (start,) = (name for name, node in graph.nodes.items() if type(node).__name__ == "Input")
    potentials: dict[str, Any] = {}
    outputs: list[np.ndarray] = []
    spikes: dict[str, list[np.ndarray]] = {}
    charged: dict[str, list[np.ndarray]] = {}
    for frame in frames:
        x, name = frame.astype(np.float64), start
        assert x.shape == tuple(graph.nodes[start].input_type["input"])
        while name in following:
            name = following[name]
            node = graph.nodes[name]
            if type(node).__name__ == "LIF":
                v = potentials.get(name, np.zeros_like(x))
                v = v + dt / node.tau * (node.v_leak - v + node.r * x)
                x = (v > node.v_threshold).astype(np.float64)
                charged.setdefault(name, []).append(v)
                spikes.setdefault(name, []).append(x)
                potentials[name] = np.where(x == 1, node.v_reset, v)
            else:
                x = STATELESS[type(node).__name__](node, x)
        outputs.append(x)
    stacked = ({key: np.stack(values) for key, values in each.items()} for each in (spikes, charged))
    return (np.stack(outputs), *stacked)


def convolve(node: Any, x: np.ndarray) -> np.ndarray:
    (rows, columns), weight = node.padding, node.weight.astype(np.float64)
    assert tuple(node.stride) == tuple(node.dilation) == (1, 1)
    assert node.groups == 1
    padded = np.pad(x, ((0, 0), (rows, rows), (columns, columns)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + node.bias[:, None, None]


def sum_pool(node: Any, x: np.ndarray) -> np.ndarray:
    assert tuple(node.padding) == (0, 0)
    height, width = node.kernel_size
    assert tuple(node.stride) == (height, width)
    whole = x[:, : x.shape[1] // height * height, : x.shape[2] // width * width]
    return whole.reshape(len(x), x.shape[1] // height, height, -1, width).sum((2, 4))


def flatten(node: Any, x: np.ndarray) -> np.ndarray:
    assert (node.start_dim, node.end_dim) == (0, -1)
    return x.reshape(-1)


STATELESS: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "Conv2d": convolve,
    "SumPool2d": sum_pool,
    "Flatten": flatten,
    "Affine": lambda node, x: node.weight.astype(np.float64) @ x + node.bias,
    "Output": lambda node, x: x,
}


def run_elsewhere(library: str, path: Path, frames: np.ndarray, dt: float) -> tuple[np.ndarray, Spikes]:
    """Outputs (T, n) and spikes of the graph in a file, as another framework reads and runs it."""
    import nir

    graph, state, outputs = nir.read(path), None, []
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)]
    module = IMPORT[library](graph, dt)
    spikes: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for name in names:
        keep = spikes[name].append
        module.get_submodule(name).register_forward_hook(
            lambda _, inputs, out, keep=keep: keep((out[0] if isinstance(out, tuple) else out).detach().numpy())
        )
    for frame in torch.from_numpy(frames)[:, None]:  # recordings one at a time: some flatten the batch, too
        out, state = module(frame, state)
        outputs.append(out.detach().numpy().reshape(-1))
    return np.stack(outputs), {name: np.stack(steps).reshape(len(steps), -1) for name, steps in spikes.items()}


def by_snntorch(graph: Any, dt: float) -> Any:
    from snntorch.import_nir import import_from_nir

    assert dt == 1e-4  # snnTorch knows no other
    return import_from_nir(graph)


def by_norse(graph: Any, dt: float) -> Any:
    from norse.torch import from_nir

    return from_nir(graph, dt=dt)


def by_spikingjelly(graph: Any, dt: float) -> Any:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return import_from_nir(graph, dt=dt)


IMPORT = {"snntorch": by_snntorch, "norse": by_norse, "spikingjelly": by_spikingjelly}
