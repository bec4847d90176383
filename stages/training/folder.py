"""The folder of a run: one process at a time trains in it, and it can be emptied to start anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...cache import durable
from ...cache.errors import StoreError, TrainingError
from ...cache.locks import writer_lock

# What a run and its evaluations write. The checkpoints go first: without them nothing else passes for a run.
_CONTENTS = ("checkpoints", "metrics.jsonl", "tensorboard", "evaluation-*.json", "predictions-*.csv", "report")


@contextmanager
def only_one_trains(run_folder: Path) -> Iterator[None]:
    """Make the folder and hold the right to train in it. Raises TrainingError when another process has it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(writer_lock(run_folder, "train", timeout_s=0))
        except StoreError:
            raise TrainingError(
                f"{run_folder}: another process is training in this folder; wait for it to end, or name another folder"
            ) from None
        (run_folder / "checkpoints").mkdir(exist_ok=True)
        durable.remove_temporaries(run_folder)
        yield


def delete_contents(run_folder: Path) -> list[Path]:
    """Delete what a run left in its folder, and nothing else; returns what it was."""
    found = [path for pattern in _CONTENTS for path in sorted(run_folder.glob(pattern))]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found
