"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_transfer.stages.network.neurons import using

GoldenReader = Callable[[str], dict[str, torch.Tensor]]


@pytest.fixture(params=["pytorch", "compiled"])
def cpu_implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to compute norm and neuron on the CPU, whatever the tensors' size."""
    with using(request.param):
        yield request.param


@pytest.fixture
def golden(repository: Path) -> GoldenReader:
    """Reads a file of tests/golden: numbers of the method's released code, in float64."""

    def read(name: str) -> dict[str, torch.Tensor]:
        with np.load(repository / "tests" / "golden" / name) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read
