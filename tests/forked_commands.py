"""Runs `dvs-transfer` again and again, each time in a forked child that has imported everything already.

Started by `fault_injection.ForkedCommands` with `failing_calls.c` preloaded. A line of JSON on standard input for each
run; a line of JSON back: the exit code as `subprocess` gives it, how many file operations were counted,
and which one failed.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys

import numpy as np
from matplotlib.figure import Figure

import dvs_transfer.pipeline.execution
import dvs_transfer.pipeline.experiment  # noqa: F401
from dvs_transfer.cli import main
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import AtisRecords


def warm_up() -> None:
    """What takes long the first time, and starts no thread: a thread would not be there in a forked child."""
    make_frames(AtisRecords(np.zeros(50, np.uint8), (34, 34)), FramesConfig(num_bins=1, size=8))
    Figure().savefig(io.BytesIO())


def run(fault: dict[str, object], arguments: list[str], output: str) -> tuple[int, int, str]:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.fault_count.restype = ctypes.c_long
    library.fault_struck.restype = ctypes.c_char_p
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
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), library.fault_count(), library.fault_struck().decode()


warm_up()
for line in sys.stdin:
    request = json.loads(line)
    code, count, struck = run(request["fault"], request["arguments"], request["output"])
    print(json.dumps({"code": code, "count": count, "struck": struck}), flush=True)
