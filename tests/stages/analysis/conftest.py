"""What the tests of analyses share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_networks import NETWORKS, write_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", NETWORKS["vgg_snn"])
