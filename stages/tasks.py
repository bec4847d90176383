"""How a stage hands out independent pieces of work without knowing who runs them.

A stage calls `map_tasks(function, items, label=...)` and iterates over the results, in the order of the items.
The default runs them here, one after the other; the pipeline passes one that runs them on dask and shows progress.
Function, items and results must be picklable: they may cross to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class TaskRunner(Protocol):
    """Runs `function` on every item and yields the results in the items' order; the first error is raised."""

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str
    ) -> Iterator[Result]: ...


def run_serially(function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
    """The task runner that needs nothing: this process, this thread, one item after the other."""
    return map(function, items)
