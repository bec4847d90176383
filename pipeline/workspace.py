"""Where raw data, caches and runs lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT_VARIABLE = "DVS_TRANSFER_ROOT"
PAIR_NOTES = "recipes"  # folder of the cache: a note for each configuration, which pair store it leads to


@dataclass(frozen=True)
class Workspace:
    """The folders below one root: data/raw, data/cache, runs."""

    root: Path

    @classmethod
    def at(cls, root: Workspace | str | Path | None = None) -> Workspace:
        """The workspace at `root`; without one, at $DVS_TRANSFER_ROOT, or here."""
        if isinstance(root, Workspace):
            return root
        return cls(Path(root or os.environ.get(ROOT_VARIABLE) or ".").expanduser())

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    def raw_data(self, path: Path | str) -> Path:
        """Where raw data lie that a configuration names: below `raw`, or anywhere ("/data/x", "~/x")."""
        return self.raw / Path(path).expanduser()

    @property
    def cache(self) -> Path:
        return self.root / "data" / "cache"

    @property
    def runs(self) -> Path:
        return self.root / "runs"


AnyRoot = Workspace | str | Path | None
