"""Where raw data, caches and runs lie: below one root, and the caches perhaps at an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..cache.errors import ConfigError
from ..cache.places import CACHE_VARIABLE, ROOT_VARIABLE, is_address, place

PAIR_NOTES = "recipes"  # folder of the cache: a note for each configuration, which pair store it leads to


@dataclass(frozen=True)
class Workspace:
    """The folders below one root: data/raw, data/cache, runs.

    cache_at: the folder or address of the caches, where that is another one.
    """

    root: Path
    cache_at: Path | None = None

    @classmethod
    def at(cls, root: Workspace | str | Path | None = None, cache: str | Path | None = None) -> Workspace:
        """The workspace at `root`; without one, at $DVS_TRANSFER_ROOT, or here.

        cache: the folder or address of its caches; without one, $DVS_TRANSFER_CACHE, or data/cache below the root.
        Raises ConfigError: a root at an address, or an address that nothing installed knows.
        """
        if isinstance(root, Workspace):
            return root
        there, cache = place(root or os.environ.get(ROOT_VARIABLE) or "."), cache or os.environ.get(CACHE_VARIABLE)
        if is_address(there):
            raise ConfigError(f"{there}: the root is a folder; caches alone may be at an address (--cache {there})")
        cache_at = place(cache) if cache else None
        is_local = cache_at is not None and not is_address(cache_at)
        return cls(there.expanduser(), cache_at.expanduser() if cache_at and is_local else cache_at)

    def resolve(self) -> Workspace:
        """The same from any current folder."""
        return Workspace(self.root.resolve(), self.cache_at and self.cache_at.resolve())

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    def raw_data(self, path: Path | str) -> Path:
        """Where raw data lie that a configuration names: below `raw`, or anywhere ("/data/x", "~/x")."""
        return self.raw / Path(path).expanduser()

    @property
    def cache(self) -> Path:
        return self.cache_at or self.root / "data" / "cache"

    @property
    def previews(self) -> Path:
        """Pictures of the caches, to be looked at here."""
        return (self.root / "data" / "cache" if is_address(self.cache) else self.cache) / "previews"

    @property
    def runs(self) -> Path:
        return self.root / "runs"


AnyRoot = Workspace | str | Path | None
