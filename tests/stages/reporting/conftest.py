"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_run import MakeRun
from finished_run import make_run as make

from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    stores = build_store(tmp_path, "events"), build_store(tmp_path, "images")
    return pairing.run(PairingConfig(train=0.4, validation=0.2, test=0.4), *stores, tmp_path).path


@pytest.fixture
def make_run(tmp_path: Path, pairs: Path) -> MakeRun:
    """`finished_run.make_run` in a folder of this name."""

    def make_here(name: str = "run", train: dict[str, Any] | None = None, **changes: Any) -> Path:
        return make(tmp_path / name, pairs, train, **changes)

    return make_here
