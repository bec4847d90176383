"""The conversion stage: one raw data set into one store, shard by shard, in any number of workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...cache.digests import code_digest, fingerprint, manifest_digest
from ...cache.errors import SourceError
from ...cache.locks import writer_lock
from ...cache.schema import SCHEMA_VERSION
from ...cache.store import FrameStore
from ...cache.writer import StoreBuilder, StoreLayout
from .. import frames as frames_package
from ..sources.reader import Reader
from ..tasks import TaskRunner, run_serially
from .config import ConvertConfig
from .manifest import opened_source, take_digests
from .shards import ShardTask, array_layouts, columns_from_rows, convert_shard

MAX_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    was_built: False when the store was there already.  quarantined: sample id -> what is wrong with it.
    num_saturated: pixel counts clipped by the storage type.  seconds: of this call.
    """

    path: Path
    source: str
    was_built: bool
    num_samples: int
    num_events: int
    num_dropped: int
    num_saturated: int
    quarantined: dict[str, str]
    num_bytes: int
    seconds: float

    @property
    def mev_per_s(self) -> float:
        """Million events a second over the whole call."""
        return self.num_events / self.seconds / 1e6 if self.was_built else 0.0


def run(
    config: ConvertConfig,
    map_tasks: TaskRunner = run_serially,
    on_wait: Callable[[str], None] | None = None,
) -> ConversionReport:
    """Make the store that `config` describes, unless it is there; take up what an interrupted run left.

    Raises SourceError (no such raw data, no readable sample, a broken one with `strict`), StoreError (a damaged store
    stands in the way, another writer does not end), OSError (disk full, no permission).
    """
    began = time.perf_counter()
    opened_source.cache_clear()  # the folder may have changed since this process last looked
    source = opened_source(config.source, config.raw)
    digests = take_digests(source, config.raw, map_tasks)
    layout = plan_layout(config, source, digests)
    builder = StoreBuilder(config.out, layout)
    was_built = False
    if not builder.final.exists():
        with writer_lock(config.out, layout.name, on_wait=on_wait):
            if not builder.final.exists():
                _build(config, source, digests, builder, map_tasks)
                was_built = True
            builder.discard()
    return _report(builder.final, config.source, was_built, began)


def plan_layout(config: ConvertConfig, source: Reader, digests: list[str]) -> StoreLayout:
    """The store to be made, its fingerprint from the configuration, the code that computes it, and the raw data."""
    described = config.for_kind(source.kind)
    manifest = manifest_digest(
        (sample.sample_id, digest) for sample, digest in zip(source.samples, digests, strict=True)
    )
    return StoreLayout(
        kind=source.kind,
        dataset=source.name,
        num_samples=len(source.samples),
        samples_per_shard=config.conversion.samples_per_shard,
        class_names=source.class_names,
        config=described,
        fingerprint=fingerprint(
            {
                "schema_version": SCHEMA_VERSION,
                "config": described,
                "class_names": source.class_names,
                "manifest": manifest,
                "code": code_digest(_code_files(source)),
            }
        ),
        manifest_digest=manifest,
        arrays=array_layouts(source, config),
    )


def _build(
    config: ConvertConfig, source: Reader, digests: list[str], builder: StoreBuilder, map_tasks: TaskRunner
) -> None:
    layout = builder.layout
    tasks = []
    for shard in builder.begin():
        wanted = slice(layout.rows_of(shard).start, layout.rows_of(shard).stop)
        tasks.append(ShardTask(config, layout, shard, source.samples[wanted], tuple(digests[wanted])))
    for _ in map_tasks(convert_shard, tasks, label=f"convert {source.name}"):
        pass
    rows = builder.read_rows()
    if all(row["problem"] for row in rows):
        builder.discard()
        problems = "\n  ".join(row["problem"] for row in rows[:MAX_PROBLEMS_SHOWN])
        raise SourceError(f"{config.raw}: none of the {len(rows)} samples can be read:\n  {problems}")
    builder.finish(columns_from_rows(rows, source.kind))


def _code_files(source: Reader) -> list[Path]:
    """The source files that decide what the frames hold: the frames package and the modules of the reader."""
    modules = {cls.__module__ for cls in type(source).__mro__ if cls.__module__.startswith(__package__.split(".")[0])}
    readers = [Path(str(sys.modules[module].__file__)) for module in modules]
    return readers + list(Path(str(frames_package.__file__)).parent.glob("*.py"))


def _report(path: Path, source_name: str, was_built: bool, began: float) -> ConversionReport:
    store = FrameStore(path)
    counts = {"num_events": 0, "num_dropped": 0, "num_saturated": 0}
    if store.kind == "events":
        counts = {name: int(store.column(name).sum()) for name in counts}
    broken = np.flatnonzero(~store.valid)
    return ConversionReport(
        path=path,
        source=source_name,
        was_built=was_built,
        num_samples=len(store),
        quarantined={str(store.sample_id[row]): str(store.column("problem")[row]) for row in broken},
        num_bytes=sum(chunk.num_bytes for chunk in store.attributes.files.values()),
        seconds=time.perf_counter() - began,
        **counts,
    )
