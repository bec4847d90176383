"""Random recordings, and the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def nmnist_files(shared_data: Path) -> list[Path]:
    """Twenty real N-MNIST recordings, two of each digit."""
    digits = sorted((shared_data / "NMNIST" / "Train").iterdir())
    return [file for digit in digits for file in sorted(digit.glob("*.bin"))[:2]]
