"""Faults for real: processes killed, file operations that fail, disks that are full, bytes that change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest

WRITING = ("open", "write", "fsync", "rename", "mkdir")
EVERYTHING = (*WRITING, "remove")
TESTS = Path(__file__).parent
Choice = TypeVar("Choice")


# How hard, and how often ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effort:
    """How hard a fault is tried: a few times in every run of the tests, or with `--long` each way there is."""

    is_long: bool

    def __call__(self, short: Choice, long: Choice) -> Choice:
        return long if self.is_long else short


@dataclass(frozen=True)
class Undisturbed:
    """A workspace that one worker preprocessed in one go; from when to when it wrote, seconds after its start."""

    root: Path
    first_s: float
    last_s: float


@dataclass
class Tally:
    """How many faults of a test were injected, and how many the software survived."""

    tried: int = 0
    survived: int = 0
    notes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Counts as survived when what it holds raises nothing."""
        self.tried += 1
        yield
        self.survived += 1


# Processes ------------------------------------------------------------------------------------------------------------


def command_line(*arguments: str | Path) -> list[str]:
    """`dvs-transfer ARGUMENTS` as a process of its own."""
    return [sys.executable, "-m", "dvs_transfer", *map(str, arguments)]


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, with no output unless `options` say otherwise."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, start_new_session=True, **(quiet | options))


def kill_group(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL to the whole process group; whether the command was still running."""
    was_running = process.poll() is None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        assert not was_running
    process.communicate()
    return was_running


def kill_after(command: Sequence[str], seconds: float) -> bool:
    """Run a command and kill its process group that many seconds later; False when it had ended before."""
    process = start(command)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return kill_group(process)


def random_moments(number: int, first_s: float, last_s: float, seed: int) -> list[float]:
    """Moments between two, one drawn in each of `number` equal parts: they fall everywhere."""
    draws = np.random.default_rng(seed).random(number)
    return [first_s + (part + draw) / number * (last_s - first_s) for part, draw in enumerate(draws)]


def processes_of(root: Path) -> list[str]:
    """Command lines of running processes that name `root`; for telling what a kill left behind."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root) in text and entry.parent.name != str(os.getpid()):
            found.append(text)
    return found


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


# File operations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """The n-th of some calls on paths below a folder fails.

    nth: from 1; 0: never, to count them.  error: an errno; 0: SIGKILL to the process group before the call instead.
    lasting: all later ones fail, too, as on a full disk.
    """

    under: Path
    nth: int = 0
    error: int = 0
    calls: tuple[str, ...] = EVERYTHING
    lasting: bool = False


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: negative for a signal.  count: file operations, over its threads and forks.

    struck: the operation that failed and its path."""

    code: int
    count: int
    struck: str
    out: str
    err: str

    @property
    def output(self) -> str:
        return self.out + self.err


class ForkedCommands:
    """Runs commands with faults, each in a fresh process forked from one that has imported everything: 0.1 s, not 4 s.

    Spawned workers (scheduler "processes") are not counted and do not fail.
    """

    def __init__(self, folder: Path) -> None:
        library = build_library(folder)
        self._folder, self._number = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, str(TESTS / "forked_commands.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(library)},
        )

    def start(self, fault: Fault, *arguments: str | Path, user: int = 0) -> Forked:
        """The fault and its count are those of the command that was started last."""
        self._number += 1
        out, err = (self._folder / f"{self._number}.{name}" for name in ("out", "err"))
        described = {
            "under": str(fault.under),
            "nth": fault.nth,
            "error": fault.error,
            "calls": ",".join(fault.calls),
            "lasting": int(fault.lasting),
        }
        files = {"out": str(out), "err": str(err)}
        request = {"fault": described, "arguments": list(map(str, arguments)), "user": user, **files}
        return Forked(self, self.ask(request)["process"], out, err)

    def run(self, fault: Fault, *arguments: str | Path, user: int = 0) -> Ended:
        return self.start(fault, *arguments, user=user).wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return dict(json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        self._server.communicate()


@dataclass(frozen=True)
class Forked:
    """A command under way. process: its id, and that of its process group."""

    commands: ForkedCommands
    process: int
    out: Path
    err: Path

    def wait(self, kill_after: float | None = None) -> Ended:
        """Its end. kill_after: in so many seconds its whole process group gets SIGKILL, and all of it is waited for."""
        answer = self.commands.ask({"child": self.process, "kill_after": kill_after})
        if kill_after is not None:
            wait_for(lambda: not members_of(self.process))
        return Ended(**answer, out=self.out.read_text(), err=self.err.read_text())

    def kill(self) -> Ended:
        return self.wait(kill_after=0)


def members_of(group: int) -> list[int]:
    """The processes of a process group that still run."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def build_library(folder: Path) -> Path:
    """`failing_calls.c`, compiled; skips the test where that is impossible."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux: calls are replaced with LD_PRELOAD")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    library = folder / "failing_calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, TESTS / "failing_calls.c", "-ldl"], check=True)
    return library


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A tmpfs of that size at `folder`; skips the test where it cannot be mounted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs root, to mount a small tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


# Bytes ----------------------------------------------------------------------------------------------------------------


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flip one bit of a file in place."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def truncate(path: Path, length: int) -> None:
    os.truncate(path, length)
