"""Runs `dvs-transfer` again and again, each time in a forked child that has imported everything already.

Started by `fault_injection.ForkedCommands` with `failing_calls.c` preloaded. A line of JSON on standard input for each
request, a line of JSON back: one that starts a command is answered with its process, one that waits for a process with
the exit code as `subprocess` gives it, how many file operations were counted, and which one failed.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import signal
import sys
import time
from importlib.metadata import version
from typing import Any

from dvs_transfer.cli import main


def warm_up() -> None:
    """What takes long the first time, and starts no thread: a thread would not be there in a forked child.

    Imported here: worker processes of a command import this file, too.
    """

    import numpy as np
    import torch
    from matplotlib.figure import Figure

    import dvs_transfer.pipeline.execution
    import dvs_transfer.pipeline.experiment  # noqa: F401
    from dvs_transfer.stages.frames.binning import make_frames
    from dvs_transfer.stages.frames.spec import FramesConfig
    from dvs_transfer.stages.sources.base import AtisRecords

    version("numpy")  # imports late what another user may not read
    make_frames(AtisRecords(np.zeros(50, np.uint8), (34, 34)), FramesConfig(num_bins=1, size=8))
    Figure().savefig(io.BytesIO())
    torch.use_deterministic_algorithms(True)  # imports torch's compiler
    torch.use_deterministic_algorithms(False)
    gc.collect()
    gc.freeze()  # else each child's first collection copies all pages of this process


def begin(library: ctypes.CDLL, fault: dict[str, Any], arguments: list[str], user: int, out: str, err: str) -> int:
    """Start a command in a process group of its own. user: 0, or who the child becomes, without any right of root's."""
    library.fault_arm(
        str(fault["under"]).encode(),
        str(fault["calls"]).encode(),
        ctypes.c_long(fault["nth"]),
        fault["error"],
        fault["lasting"],
    )
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        if user:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.environ["HOME"] = "/nonexistent"
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return child


def end(child: int, kill_after: float | None) -> int:
    """Wait for a command; that many seconds after this call its process group is killed."""
    deadline = time.monotonic() + (float("inf") if kill_after is None else kill_after)
    while True:
        ended, status = os.waitpid(child, 0 if kill_after is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            kill_after = None
        time.sleep(0.001)


def serve() -> None:
    warm_up()
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.fault_count.restype = ctypes.c_long
    library.fault_struck.restype = ctypes.c_char_p
    for line in sys.stdin:
        request = json.loads(line)
        if "arguments" in request:
            answer: dict[str, Any] = {"process": begin(library, **request)}
        else:
            code = end(**request)
            answer = {"code": code, "count": library.fault_count(), "struck": library.fault_struck().decode()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
