"""dvs-transfer: from raw event recordings and static images to a trained spiking network.

The public names are imported from here: `from dvs_transfer import PairedCache, train` (docs/python.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.paired import PairedCache
    from .cache.store import FrameStore, open_cache
    from .pipeline.api import analyse, convert, evaluate, load_network, pair, predict, preprocess, report, train
    from .pipeline.results import compare_runs, evaluate_run, measure_few_shot

__all__ = [
    "FrameStore",
    "PairedCache",
    "__version__",
    "analyse",
    "compare_runs",
    "convert",
    "evaluate",
    "evaluate_run",
    "load_network",
    "measure_few_shot",
    "open_cache",
    "pair",
    "predict",
    "preprocess",
    "report",
    "train",
]

_HOME = {
    "FrameStore": ".cache.store",
    "PairedCache": ".cache.paired",
    "compare_runs": ".pipeline.results",
    "evaluate_run": ".pipeline.results",
    "measure_few_shot": ".pipeline.results",
    "open_cache": ".cache.store",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: torch and zarr take seconds that `--help` need not wait for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("dvs-transfer")
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOME.get(name, ".pipeline.api"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
