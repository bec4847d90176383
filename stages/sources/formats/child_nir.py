"""A graph of NIR, as the decoding process reads it (`child`): a part of its script, which imports nothing of this
project. NIR's files are HDF5: below `node/nodes` a group for each node, with its `type` and a dataset for each array.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

MAX_NODES = 1000  # of a graph, and members of a node
MAX_GRAPH_BYTES = 1 << 30  # of all arrays, unpacked


def read(path: str) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """{"types": of nodes, "edges": pairs of nodes, "texts": of parameters, "metadata"}; arrays by "node/parameter"."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from somewhere else
    import h5py

    file = h5py.File(path, "r")
    try:
        facts, datasets = contents(file, h5py)
    except BaseException:
        file.close()
        raise
    return facts, arrays(file, datasets)


def contents(file: Any, h5py: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts, and the datasets of the arrays."""
    graph = members(members(file, h5py)["node"], h5py)
    edges = [[text(name) for name in edge] for edge in graph["edges"][()]]
    types, texts, datasets = {}, {}, {}
    for node, group in members(graph["nodes"], h5py).items():
        for name, dataset in members(group, h5py).items():
            if not isinstance(dataset, h5py.Dataset):
                continue  # metadata, or the nodes of a graph within this one, which its type tells
            if name == "type":
                types[node] = text(dataset[()])
            elif dataset.dtype.hasobject:
                texts[f"{node}/{name}"] = text(dataset[()])
            elif dataset.dtype.kind in "biuf":
                datasets[f"{node}/{name}"] = dataset
            else:
                raise ValueError(f"{node}/{name} holds values of type {dataset.dtype}, expected numbers")
    metadata = {
        name: text(value[()]) if value.dtype.hasobject else value[()].tolist()
        for name, value in members(graph.get("metadata", {}), h5py).items()
        if isinstance(value, h5py.Dataset) and value.ndim == 0
    }
    if sum(dataset.size * dataset.dtype.itemsize for dataset in datasets.values()) > MAX_GRAPH_BYTES:
        raise ValueError(f"its arrays have more than {MAX_GRAPH_BYTES} bytes; refused")
    return {"types": types, "edges": edges, "texts": texts, "metadata": metadata}, datasets


def members(group: Any, h5py: Any) -> dict[str, Any]:
    """What a group holds, all of it in this file."""
    found = {}
    if len(group) > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes, or members of one; refused")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link, maybe to another file; refused")
        found[name] = group[name]
        if isinstance(found[name], h5py.Dataset) and (found[name].external or found[name].is_virtual):
            raise ValueError(f"{name} lies in another file (external or virtual); refused")
    return found


def text(value: Any) -> str:
    if not isinstance(value, bytes | str):
        raise ValueError(f"expected a text, found {value!r:.60}")
    return value.decode() if isinstance(value, bytes) else value


def arrays(file: Any, datasets: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import numpy as np

    with file:
        for name, dataset in datasets.items():
            values = np.atleast_1d(dataset[()])
            kind = np.dtype(np.int64) if values.dtype.kind in "biu" else values.dtype.newbyteorder("=")
            yield {name: np.ascontiguousarray(values, kind)}
