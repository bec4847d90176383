from __future__ import annotations

from pathlib import Path

import pytest
from command_line import succeed
from tiny import make_workspace, preprocess, train_command


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, evaluated on both splits, in `runs` of a workspace."""
    root = make_workspace(tmp_path_factory.mktemp("sharing") / "root")
    run = root / "runs" / "one"
    succeed(*preprocess(root))
    succeed(*train_command(root, run))
    for split in ("validation", "test"):
        succeed("--quiet", "--root", root, "evaluate", run, "--split", split)
    return run


@pytest.fixture
def shared_pairs(shared_run: Path) -> Path:
    (pairs,) = (shared_run.parents[1] / "data" / "cache").glob("*+*.zarr")
    return pairs
