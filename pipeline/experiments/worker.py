"""One cell in a process of its own: `python -m dvs_transfer.pipeline.experiments.worker`, told what to do on its input.

The process works for as long as its standard input is open. Whoever started it closes that to stop it, and so does the
end of that process, of whatever kind: no cell goes on without somebody to report to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ...cache.errors import DvsTransferError
from ...cache.locks import writer_lock
from ..config import validate_config
from ..workspace import Workspace

WAIT_S = 7 * 24 * 3600.0  # for another runner's cell


@dataclass(frozen=True)
class CellTask:
    """What to do. config: the cell's whole configuration. waits: for another process that has the cell; else "busy"."""

    name: str
    config: dict[str, Any]
    root: str
    waits: bool = False
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell. found: it was there already; busy: another process has it."""

    name: str
    state: Literal["done", "found", "busy", "failed", "stopped"]
    run: str | None = None
    message: str | None = None
    top1: float | None = None
    seconds: float = 0.0


def run_cell(
    task: CellTask,
    on_start: Callable[[IO[bytes]], None] = lambda leash: None,
    on_memory: Callable[[int], None] = lambda num_bytes: None,
) -> CellOutcome:
    """Train and evaluate a cell in a process of its own, and wait for it. Never raises for what goes wrong there.

    on_start is given the file that stops the process when it is closed; on_memory the bytes that training takes.
    """
    command = [sys.executable, "-m", __name__]
    environment = {**os.environ, **(task.environment or {})}
    with (
        tempfile.TemporaryFile() as errors,
        # A session of its own: a Ctrl-C in the terminal is for the runner, which then stops its cells.
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
            bufsize=0,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        document = None
        try:
            process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            on_start(process.stdin)
            for line in process.stdout:
                document = json.loads(line)
                if "memory" in document:
                    on_memory(document["memory"])
        except BrokenPipeError:  # it is dead; below it is said how
            pass
        finally:
            code = process.wait()
        if document is not None and "state" in document:
            return CellOutcome(**document)
        if code == -signal.SIGTERM:
            return CellOutcome(task.name, "stopped")
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with code {code}"
    hint = "; is there enough memory?" if code == -signal.SIGKILL else ""
    return CellOutcome(task.name, "failed", message=f"its process {how}: {lines[-1]}{hint}")


def main() -> None:
    """What the cell's process does."""
    task = CellTask(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_leave_when_input_ends, daemon=True).start()
    _say(asdict(_work(task)))


def _work(task: CellTask) -> CellOutcome:
    from ...stages.evaluation import evaluate as evaluation
    from ...stages.training.stopping import TrainingStoppedError
    from .. import experiment
    from .state import is_worked_on, lock_name, read_result

    began = time.perf_counter()
    folder: Path | None = None
    try:
        config, workspace = validate_config(task.config, task.name), Workspace(Path(task.root))
        folder = experiment.run_folder(config, workspace)
        if not task.waits and is_worked_on(folder):
            return CellOutcome(task.name, "busy", str(folder))
        with writer_lock(folder.parent, lock_name(folder), timeout_s=WAIT_S):
            while is_worked_on(folder, by_runner=False):
                time.sleep(1)
            result = read_result(config, folder)
            found = result is not None
            if result is None:
                tell_memory = _MemoryOnce()
                experiment.train(config, workspace, folder, on_progress=tell_memory)
                tell_memory()  # there was nothing left to train
                evaluation.run(config.evaluate, experiment.open_splits_of(folder), folder)
                result = read_result(config, folder)
    except TrainingStoppedError as stopped:
        return CellOutcome(task.name, "stopped", str(folder), str(stopped))
    except (DvsTransferError, OSError) as error:
        return CellOutcome(task.name, "failed", str(folder) if folder else None, str(error))
    assert result is not None, f"{folder} is evaluated and yet not done"
    seconds = time.perf_counter() - began
    return CellOutcome(task.name, "found" if found else "done", str(folder), None, result.report.top1, seconds)


class _MemoryOnce:
    """Tells the runner, at the first report of progress, how much memory the process takes: a step was done by then."""

    told = False

    def __call__(self, progress: object = None) -> None:
        if not self.told:
            import psutil

            self.told = True
            _say({"memory": psutil.Process().memory_info().rss})


def _say(document: Mapping[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def _leave_when_input_ends() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
