"""One writer for each store. The lock is the operating system's: a dead process holds none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import StoreError

logger = logging.getLogger(__name__)


def lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


@contextmanager
def writer_lock(folder: Path, name: str, *, timeout_s: float = 3600.0) -> Iterator[None]:
    """Hold the right to write the store `name` in `folder`.

    While another process holds it, this one logs a warning and waits up to `timeout_s` seconds.
    Raises StoreError when the time is up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = lock_path(folder, name)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s: another process is writing here; waiting for it", folder / name)
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            raise StoreError(
                f"{folder / name}: another process still holds {path.name} after {timeout_s:.0f} s; "
                "wait for it to end, or stop it"
            ) from None
    try:
        yield
        # The work is done, so whoever gets this lock next finds a whole store and leaves: the file may go.
        # After an error it stays: two waiting writers must not end up with two different lock files.
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def is_held(folder: Path, name: str) -> bool:
    """Whether a process holds the writer lock `name` of `folder` now."""
    path = lock_path(folder, name)
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
