"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_transfer.stages.network import compiled

GoldenReader = Callable[[str], dict[str, torch.Tensor]]


@pytest.fixture(params=["plain", "compiled"])
def cpu_implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to compute norm and neuron on the CPU, whatever the tensors' size."""
    for name in ("smallest", "smallest_alone"):
        monkeypatch.setattr(compiled, name, 1 if request.param == "compiled" else 1 << 60)
    return str(request.param)


@pytest.fixture
def golden(repository: Path) -> GoldenReader:
    """Reads a file of tests/golden: numbers of the method's released code, in float64."""

    def read(name: str) -> dict[str, torch.Tensor]:
        with np.load(repository / "tests" / "golden" / name) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read
