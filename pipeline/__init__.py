"""What the commands call; modules come on first use: torch and zarr take seconds that `--help` need not wait for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import api, config, doctor, execution, experiment, results, stores
    from .studies import cells, formats, plot, raw, running, study, table

_STUDIES = ("cells", "formats", "plot", "raw", "running", "study", "table")
__all__ = [
    "api",
    "cells",
    "config",
    "doctor",
    "execution",
    "experiment",
    "formats",
    "results",
    "running",
    "stores",
    "study",
]
__all__ += ["plot", "raw", "table"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.studies.{name}" if name in _STUDIES else f"{__name__}.{name}")
