"""What the faults share: an undisturbed run, and a process that runs commands whose file operations fail."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fault_injection import ForkedCommands, Undisturbed, command_line, start, wait_for
from tiny_preprocess import make_workspace, preprocess


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedCommands]:
    commands = ForkedCommands(tmp_path_factory.mktemp("forked"))
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The demo, preprocessed by one worker."""
    root = make_workspace(tmp_path_factory.mktemp("undisturbed") / "root", demo=True)
    began = time.monotonic()
    process = start(command_line(*preprocess(root, "--scheduler", "serial")))
    wait_for((root / "data").exists)
    first_s = time.monotonic() - began
    assert process.wait(600) == 0
    return Undisturbed(root, first_s, time.monotonic() - began)
