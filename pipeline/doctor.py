"""What a user is asked first when something does not work: versions, devices, room, raw data."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from ..cache.errors import SourceError
from ..stages.sources import SOURCES, open_source
from .workspace import Workspace

PACKAGES = ("dvs-transfer", "torch", "tonic", "zarr", "numba", "numpy", "dask", "h5py")


def examine(workspace: Workspace) -> dict[str, Any]:
    """Facts of this machine and workspace, JSON-able. Sizes in GB (1e9 bytes)."""
    import torch

    existing = next(
        folder for folder in (workspace.root.resolve(), *workspace.root.resolve().parents) if folder.exists()
    )
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
        "root": str(workspace.root.resolve()),
        "raw_data": {name: _state(name, workspace.raw) for name, reader in SOURCES.items() if reader.num_samples},
    }


def _state(name: str, raw: Path) -> str:
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
