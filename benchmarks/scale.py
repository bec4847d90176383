"""How conversion grows with the number of recordings: time, memory and the root's size for each of several numbers.

The data set is made of links to real recordings, so that a large one costs no disk; each call is the command itself, in
a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..cache.errors import DvsTransferError, SourceError, command_line
from ..cache.store import FrameStore
from .measure import Figures, machine

DIGITS = tuple(map(str, range(10)))
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Call:
    """What a command told, and took. cpu_s: user and system time of it and of the processes that it started.

    peak_mb, worker_mb: 1e6 bytes of resident memory, the most of the command and of one of its processes.
    """

    told: dict[str, object]
    seconds: float
    cpu_s: float
    peak_mb: float
    worker_mb: float


def run(
    nmnist: Path,
    counts: Sequence[int],
    *,
    folder: Path | None = None,
    scheduler: str = "threads",
    workers: int = 2,
    samples_per_shard: int = 64,
) -> Figures:
    """Convert data sets of so many recordings, with links to those of N-MNIST in the folder `nmnist`; then again, which
    finds them up to date; open each store, and split it. Lists are in the order of `counts`.

    folder: where to write; the system's place for temporary files if None.
    Raises SourceError: no recordings there.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for count in counts:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            raw, out = Path(name) / "raw", Path(name) / "out"
            link_recordings(nmnist, raw, count)
            words = ["nmnist", str(raw), "--out", str(out), "--scheduler", scheduler, "--workers", str(workers)]
            words += ["--samples-per-shard", str(samples_per_shard)]
            made, again = (call("convert", *words) for _ in range(2))
            assert (made.told["num_samples"], made.told["was_built"], again.told["was_built"]) == (count, True, False)
            path = Path(str(made.told["path"]))
            began, began_cpu = time.perf_counter(), time.process_time()
            store = FrameStore(path)
            opened, opened_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            paired = call("pair", str(path))
            figures = {
                "num_recordings": count,
                "convert_s": made.seconds,
                "convert_cpu_s": made.cpu_s,
                "convert_peak_mb": made.peak_mb,
                "convert_worker_mb": made.worker_mb,
                "megabytes": made.told["megabytes"],
                "root_kb": (path / "zarr.json").stat().st_size / 1e3,
                "num_files": len(store.attributes.files),
                "up_to_date_s": again.seconds,
                "up_to_date_cpu_s": again.cpu_s,
                "up_to_date_peak_mb": again.peak_mb,
                "open_ms": opened * 1e3,
                "open_cpu_ms": opened_cpu * 1e3,
                "pair_s": paired.seconds,
                "pair_cpu_s": paired.cpu_s,
                "pair_peak_mb": paired.peak_mb,
            }
            for key, value in figures.items():
                found[key].append(value)  # type: ignore[arg-type]
            print(json.dumps(figures), file=sys.stderr, flush=True)
    return {
        "machine": machine(packages="numpy numba zarr dask"),
        "load": os.getloadavg()[0],
        "scheduler": scheduler,
        "workers": workers,
        "samples_per_shard": samples_per_shard,
        **found,
    }


def link_recordings(nmnist: Path, raw: Path, count: int) -> None:
    """N-MNIST's folders at `raw`, with `count` links to the recordings below `nmnist`, each digit's as often as it is.

    Raises SourceError: there are none.
    """
    files = [file for file in sorted(nmnist.rglob("*.bin")) if file.parent.name in DIGITS]
    if not files:
        raise SourceError(f"{nmnist}: no recordings <digit>/<number>.bin there")
    for digit in DIGITS:
        (raw / "Train" / digit).mkdir(parents=True)
    for number in range(count):
        at = number % len(files) if count >= len(files) else number * len(files) // count  # of every digit
        file = files[at].absolute()
        link = raw / "Train" / file.parent.name / f"{number:07d}.bin"
        try:
            os.link(file, link)
        except OSError:  # another file system, or too many links
            link.symlink_to(file)


def call(*words: str) -> Call:
    """Run `dvs-transfer WORDS --json` to its end. Raises DvsTransferError: it failed, and said why."""
    command = [sys.executable, "-m", "dvs_transfer", *words, "--json"]
    before, began = _cpu_s(), time.perf_counter()
    peak = worker = 0
    with tempfile.TemporaryFile() as told, subprocess.Popen(command, stdout=told) as process:
        while process.poll() is None:
            own, most = _memory(process.pid)
            peak, worker = max(peak, own), max(worker, most)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise DvsTransferError(f"{command_line(*words)}: ended with exit code {process.returncode}")
        told.seek(0)
        return Call(json.load(told), seconds, _cpu_s() - before, peak / 1e6, worker / 1e6)


def _cpu_s() -> float:
    """User and system time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of resident memory: of a process, and the most of one that it started."""
    try:
        process = psutil.Process(pid)
        return process.memory_info().rss, max((child.memory_info().rss for child in process.children()), default=0)
    except psutil.NoSuchProcess:  # ended meanwhile
        return 0, 0
