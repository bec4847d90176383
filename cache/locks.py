"""One writer for each store, and work that is done once. The lock is the system's: a dead process holds none."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from .errors import AddressError, StoreError
from .leases import Lease
from .places import exists, is_address, make_folder

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def lock_path(folder: Path, name: str) -> Path:
    return folder / f".{name}.lock"


@contextmanager
def writer_lock(folder: Path, name: str, *, timeout_s: float = 3600.0) -> Iterator[None]:
    """Hold the right to write `name` in `folder`.

    While another process holds it, this one logs a warning and waits up to `timeout_s` seconds; 0: neither.
    Raises StoreError when the time is up. At an address the lock is a lease, see `cache.leases`.
    """
    path = lock_path(folder, name)
    if is_address(folder):
        with Lease(path, folder / name).hold(timeout_s):
            yield
        return
    make_folder(folder)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if timeout_s > 0:
            logger.warning("%s: another process is writing here; waiting for it", folder / name)
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            raise StoreError(
                f"{folder / name}: another process still holds {path.name} after {timeout_s:.0f} s; "
                "wait for it to end, or stop it"
            ) from None
    except OSError as error:
        if not os.access(folder, os.W_OK):
            error.filename = str(folder)  # nobody asked for the lock
        raise
    try:
        yield
        # The work is done, so whoever gets this lock next finds a whole store and leaves: the file may go.
        # After an error it stays: two waiting writers must not end up with two different lock files.
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def once(
    folder: Path,
    name: str,
    find: Callable[[], Result | None],
    make: Callable[[], Result],
    tidy: Callable[[], None] = lambda: None,
) -> tuple[Result, bool]:
    """What `find` finds, else what `make` makes under the writer's lock `name` of `folder`; and whether it was made.

    Where all is there, nothing is written: the folder may be read-only. A lock that lies there is another's who is at
    work, or left by one who was killed, if only at the very end: then all waits for it, and `tidy` clears up.
    """
    found = find()
    if is_address(folder):
        return _once_at_address(folder, name, found, find, make, tidy)
    if found is None or (lock_path(folder, name).exists() and os.access(folder, os.W_OK)):
        with writer_lock(folder, name):
            found = find()  # another process may have made it meanwhile
            if found is None:
                return make(), True
            tidy()
    return found, False


def _once_at_address(
    folder: Path,
    name: str,
    found: Result | None,
    find: Callable[[], Result | None],
    make: Callable[[], Result],
    tidy: Callable[[], None],
) -> tuple[Result, bool]:
    """The same where the lock is a lease, and whether one may write is only known from trying."""
    if found is not None:
        with suppress(AddressError):  # all is there, and what lies about is for whoever may tidy
            if exists(lock_path(folder, name)):
                with writer_lock(folder, name):
                    tidy()
        return found, False
    with writer_lock(folder, name):
        found = find()
        if found is None:
            try:
                return make(), True
            except StoreError:
                found = find()  # where this process was taken for dead, another one may have made it, and tidied
                if found is None:
                    raise
        tidy()
    return found, False


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
