"""dvs-transfer: from raw event recordings and static images to a trained spiking network.

from dvs_transfer import PairedCache, compare_runs, evaluate_run, measure_few_shot, open_cache
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.paired import PairedCache
    from .cache.store import FrameStore, open_cache
    from .pipeline.analysis import measure_few_shot
    from .pipeline.results import compare_runs, evaluate_run

__all__ = ["FrameStore", "PairedCache", "__version__", "compare_runs", "evaluate_run", "measure_few_shot", "open_cache"]

_HOME = {
    "FrameStore": ".cache.store",
    "PairedCache": ".cache.paired",
    "compare_runs": ".pipeline.results",
    "evaluate_run": ".pipeline.results",
    "measure_few_shot": ".pipeline.analysis",
    "open_cache": ".cache.store",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: torch and zarr take seconds that `--help` need not wait for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("dvs-transfer")
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
