"""What each process of `test_sharded_training.py` runs: a training, with notes of what it reads, and maybe of its end.

Arguments: PAIR STORE, number of the process that is killed, in which of its steps, and the runs, one after the other,
as PLACEMENT=FOLDER. It is killed where it would hand its gradient to the others.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tiny_run import changed, train

from dvs_transfer import PairedCache
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.training.distributed import Processes

RANK = int(os.environ["RANK"])
read_rows, average_gradients = FrameStore.read, Processes.average_gradients
seen: dict[str, set[int]] = {"frames": set(), "value": set()}
steps = 0


def read(self: FrameStore, name: str, rows: Any = None) -> Any:
    if name in seen:
        seen[name] |= {*(np.arange(len(self)) if rows is None else rows).tolist()}
    return read_rows(self, name, rows)


def main(pairs: Path, victim: int, step: int, *runs: str) -> None:
    def average_or_die(self: Processes, *arguments: Any) -> Any:
        global steps
        steps += 1
        if (RANK, steps) == (victim, step):
            time.sleep(0.2)  # the others wait for it
            Path(runs[-1].partition("=")[2]).with_suffix(".killed").write_text(f"{os.getpid()} {time.time()}")
            os.kill(os.getpid(), signal.SIGKILL)
        return average_gradients(self, *arguments)

    FrameStore.read = read  # type: ignore[method-assign]
    Processes.average_gradients = average_or_die  # type: ignore[method-assign]
    say = [].append if RANK else lambda line: sys.stdout.write(line + "\n")
    for placement, _, place in (run.partition("=") for run in runs):
        config = changed(data_placement=placement, keep_checkpoints=20, checkpoint_steps=2, log_interval=2)
        folder = Path(place)
        train(folder, config, lambda split: PairedCache.open(pairs, split), on_message=say)
        folder.with_suffix(f".{RANK}.json").write_text(json.dumps({name: sorted(rows) for name, rows in seen.items()}))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
    except Exception as error:
        sys.stderr.write(f"process {RANK}: {type(error).__name__}: {error}\n")  # in one piece
        sys.exit(1)
