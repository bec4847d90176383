"""Fault 13: `train` is killed in the middle of an epoch, again and again, and goes on to the same bits."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
from fault_injection import Effort, Fault, ForkedCommands, Tally, random_moments, wait_for
from tiny import assert_same_run, make_trainable, train_command


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_random_moments(effort: Effort, tally: Tally, forked: ForkedCommands, tmp_path: Path) -> None:
    """SIGKILL to the process group at a moment between the first step and the end of an undisturbed run."""
    root = make_trainable(tmp_path / "root")
    epochs = ("--set", "train.epochs=12")
    began = time.monotonic()
    command = forked.start(Fault(root), *train_command(root, root / "undisturbed", *epochs))
    wait_for((root / "undisturbed" / "metrics.jsonl").exists)
    first_s = time.monotonic() - began
    assert command.wait().code == 0
    last_s = time.monotonic() - began
    tally.notes["still_running"] = 0
    for moment in random_moments(effort(1, 50), first_s, last_s, seed=13):
        run = root / "killed"
        arguments = train_command(root, run, *epochs)
        with tally.attempt():
            killed = forked.start(Fault(root), *arguments).wait(kill_after=moment)
            tally.notes["still_running"] += killed.code == -signal.SIGKILL
            assert forked.run(Fault(root), *arguments).code == 0
            assert_same_run(run, root / "undisturbed")
        shutil.rmtree(run)
