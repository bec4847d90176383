"""What the tests of reports share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from finished_run import MakeRun
from finished_run import make_run as make


@pytest.fixture
def pairs(built_stores: Path, tmp_path: Path) -> Path:
    shutil.copytree(built_stores, tmp_path, dirs_exist_ok=True)
    return next(tmp_path.glob("*+*.zarr"))


@pytest.fixture
def make_run(tmp_path: Path, pairs: Path) -> MakeRun:
    """`finished_run.make_run` in a folder of this name."""

    def make_here(name: str = "run", train: dict[str, Any] | None = None, **changes: Any) -> Path:
        return make(tmp_path / name, pairs, train, **changes)

    return make_here
