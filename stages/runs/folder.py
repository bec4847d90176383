"""The folder of a run: what it says of itself; one process at a time trains in it, and it can be emptied to start anew.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...cache import durable
from ...cache.documents import read_json
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


def read_run(folder: Path) -> dict[str, Any]:
    """What a run folder says of its configuration and data. Raises TrainingError when it is no run."""
    path = folder / "config.json"
    try:
        document: dict[str, Any] = read_json(path)
    except NotADirectoryError:
        raise TrainingError(f"{folder}: a file and no run's folder; a configuration is named with --config") from None
    except FileNotFoundError:
        if (folder.parent / "runs" / folder.name / "config.json").is_file():
            raise TrainingError(f"{folder}: no run here; there is {folder.parent / 'runs' / folder.name}") from None
        others = [other.parent.name for other in folder.parent.glob("*/config.json")]
        begun = sorted(name for name in others if name.startswith(folder.name))
        close = begun[:3] or difflib.get_close_matches(folder.name, others, n=3, cutoff=0.3)
        beside = f"; there is {' and '.join(close)} in {folder.parent}" if close else ""
        raise TrainingError(
            f"{folder}: no run here (it has no config.json){beside}; train one with `dvs-transfer train`"
        ) from None
    except ValueError as error:
        raise TrainingError(f"{path}: damaged ({error}); train again") from None
    if not isinstance(document, dict) or "pairs" not in document:
        raise TrainingError(f"{path}: does not name the run's pair store; train again with `dvs-transfer train`")
    experiment = document.get("experiment")
    if isinstance(experiment, dict) and isinstance(experiment.get("model"), dict):
        experiment["model"].setdefault("running_statistics", "shared")  # of a run from before there were two ways
    return document
