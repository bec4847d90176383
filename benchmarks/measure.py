"""What all benchmarks share: measuring in turns, one core, the machine's description."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..stages.runs.history import cpu_name

Key = TypeVar("Key")
Value = TypeVar("Value")


Figures = dict[str, Any]
"""What a benchmark found, under the names that are printed and that its JSON file has."""


def in_turns(tasks: Mapping[Key, Callable[[], Value]], num_turns: int) -> dict[Key, list[Value]]:
    """What each task returns in each turn; one after the other, so that a slow moment of the machine meets all.

    A first turn compiles and fills caches, and is not kept.
    """
    turns = [{key: task() for key, task in tasks.items()} for _ in range(num_turns + 1)]
    return {key: [turn[key] for turn in turns[1:]] for key in tasks}


def medians(functions: Sequence[Callable[[], object]], num_turns: int, num_calls: int = 1) -> list[float]:
    """Median seconds of each function; they take turns of `num_calls`."""

    def timed(function: Callable[[], object]) -> Callable[[], list[float]]:
        return lambda: [seconds(function) for _ in range(num_calls)]

    found = in_turns(dict(enumerate(map(timed, functions))), num_turns)
    return [float(np.median(times)) for times in found.values()]


def seconds(function: Callable[[], object], device: torch.device | None = None) -> float:
    """How long a call takes, and what it started on the device."""
    wait_for(device)
    began = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def one_core() -> Iterator[int]:
    """Every thread of this process on one core for a while, where the system can; yields the number of cores used."""
    num_threads = torch.get_num_threads()
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    torch.set_num_threads(1)
    try:
        _pin({max(before)} if before else before)
        yield 1 if before else os.cpu_count() or 1
    finally:
        _pin(before)
        torch.set_num_threads(num_threads)


def _pin(cores: set[int]) -> None:
    if cores:
        for thread in Path("/proc/self/task").iterdir():  # threads that live already do not follow the main one
            os.sched_setaffinity(int(thread.name), cores)


def machine(cores: int | None = None, packages: str = "numpy numba torch tonic zarr h5py") -> dict[str, str]:
    """What a figure was measured on. cores: how many were used."""
    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        **({} if cores is None else {"cores_used": str(cores)}),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages.split()},
    }
