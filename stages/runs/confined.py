"""A function in a process of its own with bounds on memory, time and files: for libraries that can be made to crash.

The process is forked from a server that holds torch and nothing of the caller's (`multiprocessing`, "forkserver"): it
starts in milliseconds, and inherits neither threads nor locks.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from ...cache.errors import TrainingError
from . import packing

MAX_SECONDS: Final = 300
FREE_MEMORY_BYTES: Final = 1 << 30  # address space beside what torch takes and `MEMORY_PER_BYTE` of the file
MEMORY_PER_BYTE: Final = 4
MAX_OPEN_FILES: Final = 64


def run_confined(function: Callable[[Path], Any], path: Path) -> Any:
    """`function(path)`, of plain values and tensors, in a process of its own; `function` is that of a module.

    Raises TrainingError: that of the function, or because its process died, took too long or answered too much.
    """
    size = path.stat().st_size
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, function.__module__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(function, path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(MAX_SECONDS):
            raise TrainingError(f"{path}: not read after {MAX_SECONDS} s; the file is damaged or hostile")
        answer = ours.recv_bytes(FREE_MEMORY_BYTES + MEMORY_PER_BYTE * size)
    except (EOFError, OSError):
        process.join()
        raise TrainingError(
            f"{path}: the process that read it ended with {process.exitcode}; the file is damaged or hostile"
        ) from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if answer[:1] == b"X":
        raise TrainingError(answer[1:].decode())
    return packing.from_bytes(answer[1:])


def _answer(function: Callable[[Path], Any], path: Path, pipe: Connection) -> None:
    _set_limits(path.stat().st_size)
    try:
        answer = b"D" + packing.to_bytes(function(path))
    except TrainingError as error:
        answer = b"X" + str(error).encode(errors="replace")
    pipe.send_bytes(answer)


def _set_limits(num_bytes: int) -> None:
    bounds = {
        resource.RLIMIT_CPU: MAX_SECONDS,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
    }
    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        bounds[resource.RLIMIT_AS] = taken + FREE_MEMORY_BYTES + MEMORY_PER_BYTE * num_bytes
    for kind, bound in bounds.items():
        with suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, (bound, bound))
