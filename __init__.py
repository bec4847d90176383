"""dvs-transfer: from raw event recordings and static images to a trained spiking network.

The public names are imported from here: `from dvs_transfer import PairedCache, train` (docs/python.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.paired import PairedCache
    from .cache.store import FrameStore, open_cache
    from .pipeline.api import convert, load_network, pair, predict
    from .pipeline.config import load_config
    from .pipeline.experiment import evaluate, preprocess, train
    from .pipeline.results import analyse, compare_runs, report

__all__ = ["FrameStore", "PairedCache", "__version__", "analyse", "compare_runs", "convert", "evaluate", "load_config"]
__all__ += ["load_network", "open_cache", "pair", "predict", "preprocess", "report", "train"]

_NAMES = {
    ".cache.paired": ["PairedCache"],
    ".cache.store": ["FrameStore", "open_cache"],
    ".pipeline.api": ["convert", "load_network", "pair", "predict"],
    ".pipeline.config": ["load_config"],
    ".pipeline.experiment": ["evaluate", "preprocess", "train"],
    ".pipeline.results": ["analyse", "compare_runs", "report"],
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: torch and zarr take seconds that `--help` need not wait for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("dvs-transfer")
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
