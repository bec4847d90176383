"""What the tests of the conversion share."""

from __future__ import annotations

from pathlib import Path

import pytest
from raw_data import write_raw_data


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw_data(tmp_path / "räw data")  # paths may hold spaces and letters beyond ASCII
