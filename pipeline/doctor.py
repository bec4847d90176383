"""What a user is asked first: this machine, the raw data, and what a configuration names."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from ..cache.errors import AddressError, ConfigError, SourceError, StoreError, TrainingError
from ..stages.sources import SOURCES, open_source
from .config import ExperimentConfig
from .experiment import find_change, find_pairs
from .workspace import Workspace

PACKAGES = ("dvs-transfer", "torch", "tonic", "zarr", "numba", "numpy", "dask", "h5py")


def examine(workspace: Workspace) -> dict[str, Any]:
    """Facts of this machine and workspace, JSON-able. Sizes in GB (1e9 bytes)."""
    import torch

    root = workspace.root.resolve()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": devices or "none; training runs on the CPU",
        "memory_free_gb": round(psutil.virtual_memory().available / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(existing).free / 1e9, 1),
        "root": str(root),
        "raw_data": {name: _raw_state(name, workspace.raw) for name, reader in SOURCES.items() if reader.num_samples},
    }


def _raw_state(name: str, raw: Path) -> str:
    """Whether the source's raw data lie in its folder, and whether they are as many as published."""
    folder = raw / name.removesuffix("-images")
    if not folder.exists():
        return f"not there (looked in {folder})"
    try:
        source = open_source(name, folder)
    except SourceError as error:
        return f"broken: {error}"
    found, published = len(source.samples), type(source).num_samples
    return f"{found:,} samples" + (", whole" if found == published else f" of the {published:,} published")


def examine_configuration(config: ExperimentConfig, workspace: Workspace) -> dict[str, str]:
    """Whether what a configuration names is there: its raw data, its device, its pair store."""
    from ..stages.network.runtime import select_device

    found = {}
    for name in ("events", "images"):
        section = getattr(config, name)
        if section is None:
            continue
        path, frames = workspace.raw_data(section.raw), config.frames
        how = (frames.time_unit, frames.columns, frames.windows) if name == "events" else ()
        try:
            source = open_source(section.source, path, *how)
            found[name] = f"{len(source.samples):,} samples, {len(source.class_names):,} classes in {path}"
        except (ConfigError, SourceError, OSError) as error:
            is_made = config.demo is not None or (name == "events" and config.simulate is not None)
            found[name] = f"not there yet; `preprocess` makes it: {path}" if is_made else f"broken: {error}"
    for name, device in (("train.device", config.train.device), ("evaluate.device", config.evaluate.device)):
        try:
            found[name] = f"{device}: {select_device(device)}"
        except TrainingError as error:
            found[name] = f"broken: {error}"
    try:
        with suppress(StoreError):
            found["pairs"] = str(find_pairs(config, workspace))
            found |= {"raw data": change} if (change := find_change(config, workspace)) else {}
    except AddressError as error:
        found["pairs"] = f"broken: {error}"
    return found | ({} if "pairs" in found else {"pairs": "not there yet; `preprocess` makes it"})
