"""SIGTERM and Ctrl-C: a run finishes its step, saves its state and leaves."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ...cache.errors import DvsTransferError


class TrainingStoppedError(DvsTransferError):
    """A signal stopped the run, and its state is saved. Exit code: 128 + the signal, as a shell gives it."""

    def __init__(self, run_folder: Path, signal_number: int) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(f"stopped by {name}; the state is saved in {run_folder}: the same command goes on from there")
        self.exit_code = 128 + signal_number


class StopSignals:
    """Context manager in which SIGTERM and SIGINT only leave a note in `received`; a second one acts as it always did.

    Not with `hold`: torchrun passes on a Ctrl-C that its processes have had from the terminal already, and it kills
    those that take too long. Where one of them ended it sends SIGTERM to the others: these leave with an error of
    their own, and still take no signal while they do, so that they can say what happened.

    Python lets the main thread alone take signals: in another thread nothing is noted.
    """

    def __init__(self, *, hold: bool) -> None:
        self.hold = hold
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self.hold and error is not None):
            self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not self.hold:
            self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
