"""What the faults share: a process that runs commands whose file operations fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_injection import ForkedCommands


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedCommands]:
    commands = ForkedCommands(tmp_path_factory.mktemp("forked"))
    yield commands
    commands.close()
