"""One writer for each store. The lock is the operating system's: a dead process holds none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import StoreError


def lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


@contextmanager
def writer_lock(
    folder: Path, name: str, *, timeout_s: float = 3600.0, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the right to write the store `name` in `folder`.

    While another process holds it, `on_wait` is told once and this one waits up to `timeout_s` seconds.
    Raises StoreError when the time is up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = lock_path(folder, name)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait(f"{folder / name}: another process is writing this store; waiting for it")
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
