"""A training run that kills itself at its n-th progress report as the kernel kills: arguments FOLDER, N."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tiny_run import CONFIG, changed, train


def main(folder: Path, kill_at: int) -> None:
    reports = 0

    def kill(progress: object) -> None:
        nonlocal reports
        reports += 1
        if reports == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(folder, changed(CONFIG, log_interval=1, checkpoint_steps=1), on_progress=kill)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
