"""One writer for each store at an address: an object that says who writes, made by a conditional put and kept fresh.

An object store knows of no process's death, so that the lock is a lease: its holder renews it, and a process that
waits takes it over where nothing was renewed for a while, by its own clock, or where the holder was on this machine
and is no more. A holder that only slept may then write beside its successor. That costs work and nothing
else: see `cache.building`.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import psutil

from .documents import read_json
from .errors import AddressError, StoreError
from .places import NotConditionalError, create_object, remove_objects, write_object

FORGOTTEN_S: Final = 3600.0  # after which `is_free` believes the clock of a holder on another machine
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """The lock that is the object at `address`, of the writer of `what`.

    renew_s: how often its holder renews it.  patience_s: without a renewal for so long, the holder counts as dead.
    """

    address: Path
    what: Path
    renew_s: float = 10.0
    patience_s: float = 60.0
    of_this_process: ClassVar[set[str]] = set()  # tokens: of what this process holds, or waits to hold

    @contextmanager
    def hold(self, timeout_s: float) -> Iterator[None]:
        """Waits up to `timeout_s` seconds for another holder. Raises StoreError when the time is up, AddressError."""
        token = secrets.token_hex(8)
        self.of_this_process.add(token)
        try:
            with self._held(token, timeout_s):
                yield
        finally:
            self.of_this_process.discard(token)

    @contextmanager
    def _held(self, token: str, timeout_s: float) -> Iterator[None]:
        try:
            self._acquire(token, timeout_s)
        except NotConditionalError as error:
            logger.warning(
                "%s: no locks there, as this file system cannot put conditionally (%s); two writers at once would both "
                "do all the work",
                self.what,
                error,
            )
            yield
            return
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(token, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            with suppress(AddressError):  # it runs out by itself
                if self._holder().get("token") == token:
                    remove_objects([self.address])

    def is_free(self) -> bool:
        """Whether nobody holds it, as far as can be told at once."""
        holder = self._holder()
        return not holder or _is_dead(holder) or time.time() - float(holder.get("renewed", 0)) > FORGOTTEN_S

    def _acquire(self, token: str, timeout_s: float) -> None:
        began = seen_at = time.monotonic()
        seen: dict[str, Any] = {}
        while not create_object(self.address, _describe(token)):
            holder, now = self._holder(), time.monotonic()
            if holder.get("token") == token:  # the answer to an earlier try of this request was lost
                return
            who = f"process {holder.get('pid')} of {holder.get('host')}"
            if holder != seen:
                if not seen and timeout_s > 0:
                    logger.warning("%s: another process is writing here (%s); waiting for it", self.what, who)
                seen, seen_at = holder, now
            if _is_dead(holder) or now - seen_at > self.patience_s:
                logger.warning("%s: %s gives no sign any more; going on in its place", self.what, who)
                remove_objects([self.address])
            elif now - began > timeout_s:
                raise StoreError(
                    f"{self.what}: {who} still holds {self.address.name} after {timeout_s:.0f} s; wait for it to end, "
                    "or stop it"
                )
            else:
                time.sleep(min(1.0, self.renew_s / 4))

    def _renew(self, token: str, ended: threading.Event) -> None:
        while not ended.wait(self.renew_s):
            with suppress(AddressError):  # who cannot reach it hears so where it works
                if self._holder().get("token") != token:
                    logger.warning("%s: another process took this one for dead, and writes here, too", self.what)
                    return
                write_object(self.address, _describe(token))

    def _holder(self) -> dict[str, Any]:
        """What the lock says; {}: there is none."""
        try:
            found = read_json(self.address)
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"token": "damaged"}


def _describe(token: str) -> bytes:
    who = {"host": socket.gethostname(), "pid": os.getpid()}
    return json.dumps({"token": token, **who, "renewed": time.time()}).encode()


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether it was on this machine, and is no more."""
    if holder.get("host") != socket.gethostname():
        return False
    if holder.get("pid") == os.getpid():
        return holder.get("token") not in Lease.of_this_process
    return not psutil.pid_exists(int(holder.get("pid", 0)))
