"""What all tests share: the repository's root, the real data beside it, and how hard faults are tried."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_injection import Effort, Tally

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tensors are small, and the cores taken

REPOSITORY = Path(__file__).resolve().parent.parent
FIGURES = REPOSITORY / "build" / "faults.jsonl"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="inject every fault, not some (`make faults`)")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real N-MNIST recordings and MNIST digits that lie beside the repository, where they do."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real recordings in {folder}")
    return folder


@pytest.fixture(scope="session")
def built_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of events, one of images and their pairs, made once: for tests to copy."""
    from dvs_transfer.stages import pairing
    from dvs_transfer.stages.pairing_config import PairingConfig

    from stores import build_store

    folder = tmp_path_factory.mktemp("built")
    stores = build_store(folder, "events"), build_store(folder, "images")
    pairing.run(PairingConfig(train=0.4, validation=0.2, test=0.4), *stores, folder)
    return folder


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> Effort:
    return Effort(bool(request.config.getoption("--long")))


@pytest.fixture
def tally(request: pytest.FixtureRequest, effort: Effort) -> Iterator[Tally]:
    """Counts; with `--long` a line of figures for the test goes to build/faults.jsonl."""
    counted, began = Tally(), time.perf_counter()
    yield counted
    if effort.is_long:
        seconds = round(time.perf_counter() - began, 1)
        name = request.node.path.stem.removeprefix("test_")
        row = {"fault": name, "test": request.node.name, "tried": counted.tried, "survived": counted.survived}
        FIGURES.parent.mkdir(exist_ok=True)
        with FIGURES.open("a") as file:
            file.write(json.dumps(row | {"seconds": seconds} | counted.notes) + "\n")
