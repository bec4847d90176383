"""A reader that comes to another process, pickled, is opened again there: once for all tasks of a command, no longer.

A worker may live for many commands, and no time of a folder tells that a file in it was written anew, or what changed
below it. So each reader has a token of its own, and what a worker opened for one is never taken for another.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


class Unopened:
    """Stands for a reader that could not be opened here: whoever uses it is told why.

    An error while a task is unpickled would end a cluster's worker, and nobody would be told. A scheduler, through
    which tasks pass, need not have the raw data: handed on, it is the reader.
    """

    def __init__(self, error: Exception, pickled: tuple[Any, ...]) -> None:
        self._error, self._pickled = error, pickled

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else self._error

    def __reduce__(self) -> tuple[Any, ...]:
        return self._pickled


def reopen(reader: Any, *opening: Any) -> Any:
    """The reader of class `reader` that was pickled (`Reader.pickled_as`), or what stands for it."""
    try:
        return _open_once(reader, *opening)
    except Exception as error:
        return Unopened(error, reader.pickled_as(*opening))


@lru_cache(maxsize=4)  # a reader may hold much
def _open_once(reader: Any, token: str, modified_ns: int, *arguments: Any) -> Any:
    """token: the reader's own.  modified_ns: tells an archive that was replaced meanwhile from the one before."""
    opened = reader(*arguments)
    opened._token = token  # a scheduler hands it on as the same
    return opened
