"""What the faults share: an undisturbed run, and a process that runs commands whose file operations fail."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fault_injection import Fault, ForkedCommands, Undisturbed, wait_for
from tiny import make_workspace, preprocess


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedCommands]:
    commands = ForkedCommands(tmp_path_factory.mktemp("forked"))
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, forked: ForkedCommands) -> Undisturbed:
    """The demo, preprocessed by one worker."""
    root = make_workspace(tmp_path_factory.mktemp("undisturbed") / "root", demo=True)
    began = time.monotonic()
    command = forked.start(Fault(root), *preprocess(root, "--scheduler", "serial"))
    wait_for((root / "data").exists)
    first_s = time.monotonic() - began
    assert command.wait().code == 0
    return Undisturbed(root, first_s, time.monotonic() - began)
