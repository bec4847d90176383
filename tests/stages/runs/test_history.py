"""What a run notes of the machine: once for each time that it trains, with an end unless it was killed."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run
import torch

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.runs.history import read_history, period_noted
from dvs_transfer.stages.training.progress import TrainingProgress


def test_a_run_notes_every_time_that_it_trains(tmp_path: Path) -> None:
    def stop(at: TrainingProgress) -> None:
        if at.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_run.train(tmp_path, on_progress=stop)
    tiny_run.train(tmp_path)
    first, second = read_history(tmp_path)
    assert (first.epochs_before, second.epochs_before) == (0, 1)
    assert first.started <= str(first.ended) <= second.started <= str(second.ended)
    assert first.seconds is not None
    assert first.versions["torch"] == torch.__version__
    assert first.device
    tiny_run.train(tmp_path)  # nothing left to do
    assert len(read_history(tmp_path)) == 2
    tiny_run.train(tmp_path, restart=True)
    assert len(read_history(tmp_path)) == 1


def test_a_session_that_goes_on_or_was_killed_has_no_end(tmp_path: Path) -> None:
    with period_noted(tmp_path, torch.device("cpu"), 2, 7):
        (stint,) = read_history(tmp_path)
    assert (stint.ended, stint.seconds, stint.epochs_before) == (None, None, 7)
    assert stint.device.startswith("2 x ")


def test_no_sessions_and_damaged_ones(tmp_path: Path) -> None:
    assert read_history(tmp_path) == ()
    (tmp_path / "stints.json").write_text('[{"started": 3}]')
    with pytest.raises(TrainingError, match=r"stints.json: damaged .*; delete it"):
        read_history(tmp_path)
