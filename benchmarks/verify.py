"""How fast a store is verified, beside the floor: reading its files from memory and doing nothing with them."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..cache.digests import fingerprint
from ..cache.store import read_attributes
from ..cache.verify import verify_store
from ..cache.writer import ArrayLayout, StoreBuilder, StoreLayout
from .measure import Figures, machine, medians

SAMPLES_PER_SHARD = 64
SHAPE = (10, 2, 48, 48)  # of a recording of N-Caltech101


def run(num_shards: int = 60, *, folder: Path | None = None, num_turns: int = 5) -> Figures:
    """Measure on a store of random frames, about 6 MB a shard, just written and so in the page cache; medians, in 1e9
    bytes a second. The floor: its files read, by as many threads.

    folder: where to write it; the system's place for temporary files if None.
    """
    num_threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = _write_store(Path(name), num_shards)
        files = [store / key for key in read_attributes(store).files]
        num_bytes = sum(file.stat().st_size for file in files)

        def verify() -> None:
            assert verify_store(store, num_threads).is_whole

        def read() -> None:
            with ThreadPoolExecutor(num_threads) as pool:
                assert sum(pool.map(_read, files)) == num_bytes

        speed, floor = (num_bytes / took / 1e9 for took in medians([verify, read], num_turns))
    return {
        "machine": machine(packages="numpy zarr"),
        "targets": {"verify_gb_per_s": 1},
        "num_threads": num_threads,
        "num_files": len(files),
        "megabytes": num_bytes / 1e6,
        "verify_gb_per_s": speed,
        "floor_gb_per_s": floor,
    }


def _write_store(folder: Path, num_shards: int) -> Path:
    """Random bits do not compress, so the files are as large as the frames."""
    num_samples = num_shards * SAMPLES_PER_SHARD
    layout = StoreLayout(
        kind="events",
        dataset="benchmark",
        num_samples=num_samples,
        samples_per_shard=SAMPLES_PER_SHARD,
        class_names=("noise",),
        config={},
        recipe=fingerprint("benchmark"),
        arrays={"frames": ArrayLayout(SHAPE, "uint16")},
    )
    builder = StoreBuilder(folder, layout)
    rng = np.random.default_rng(0)
    for shard in builder.begin():
        frames = rng.integers(0, 1 << 16, (SAMPLES_PER_SHARD, *SHAPE), np.uint16)
        builder.write_shard(shard, {"frames": frames}, [{}] * SAMPLES_PER_SHARD)
    text = np.dtypes.StringDType()
    columns = {
        "label": np.zeros(num_samples, np.int64),
        "sample_id": np.array([f"noise/{number}" for number in range(num_samples)], text),
        "problem": np.full(num_samples, "", text),
    }
    return builder.finish(columns, "benchmark")


def _read(file: Path) -> int:
    num_bytes, block = 0, bytearray(1 << 18)
    with file.open("rb", buffering=0) as opened:
        while found := opened.readinto(block):
            num_bytes += found
    return num_bytes
