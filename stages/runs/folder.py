"""The folder of a run: one process at a time trains in it, and it can be emptied to start anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...cache import durable
from ...cache.errors import StoreError, TrainingError
from ...cache.locks import lock_path, writer_lock

# What a run and its evaluations write. The checkpoints go first: what is left without them cannot pass for a run.
_CONTENTS = (
    "checkpoints",
    "metrics.jsonl",
    "stints.json",
    "tensorboard",
    "trackers.json",
    "wandb",
    "evaluation-*.json",
    "predictions-*.csv",
    "few-shot.json",
    "report",
    "analysis",
)


@contextmanager
def only_one_trains(run_folder: Path, *, restart: bool, on_message: Callable[[str], None]) -> Iterator[None]:
    """Make the folder, emptied of an earlier run with `restart`, and hold the right to train in it.

    Raises TrainingError when another process has it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(writer_lock(run_folder, "train", timeout_s=0))
        except StoreError:
            raise TrainingError(
                f"{run_folder}: another process is training in this folder; wait for it to end, or name another folder"
            ) from None
        if restart and any((run_folder / name).exists() for name in ("checkpoints", "config.json")):
            on_message(f"{run_folder}: starts anew; its checkpoints, metrics and evaluations are deleted")
            _delete_contents(run_folder)
        (run_folder / "checkpoints").mkdir(exist_ok=True)
        durable.remove_temporaries(run_folder)
        try:
            yield
        finally:  # nobody waits for this lock, so its file may go, after an error too
            lock_path(run_folder, "train").unlink(missing_ok=True)


def _delete_contents(run_folder: Path) -> None:
    """Delete what a run leaves in its folder, and nothing else."""
    for path in [path for pattern in _CONTENTS for path in run_folder.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
