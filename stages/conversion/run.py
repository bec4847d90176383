"""The conversion stage: one raw data set into one store, shard by shard, in any number of workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.digests import manifest_digest
from ...cache.errors import SourceError, StoreError
from ...cache.locks import once
from ...cache.store import FrameStore, find_stores
from ...cache.writer import StoreBuilder, StoreLayout
from ..simulation.config import SimulationConfig
from ..simulation.recorded import RecordedPhotos
from ..sources import open_source
from ..sources.reader import IgnoredFiles, Reader
from ..tasks import TaskRunner, run_serially
from .config import ConvertConfig
from .notices import Share, notices, share_in_frames
from .recipe import recipes
from .shards import (
    Identity,
    array_layouts,
    columns_from_rows,
    convert_shards,
    identities_of,
    identity_of_row,
    take_identities,
)

MAX_PROBLEMS_SHOWN = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    was_built: False when the store was there already.  num_samples: those that can be read.
    quarantined: sample id -> what is wrong with it.  ignored_files: those that are no samples.
    num_events, num_dropped (in no time bin), num_saturated (counts clipped by the storage type): None for images.
    share_in_frames: of a recording's events, what the frames show of them; None for images.
    warnings: what the user should know of it, see `notices`; also logged.
    megabytes: 1e6 bytes on disk.  seconds: of this call.  mev_per_s: million events a second over it, when built.
    """

    path: Path
    source: str
    was_built: bool
    num_samples: int
    quarantined: dict[str, str]
    ignored_files: IgnoredFiles
    num_events: int | None
    num_dropped: int | None
    num_saturated: int | None
    share_in_frames: Share | None
    warnings: tuple[str, ...]
    megabytes: float
    seconds: float
    mev_per_s: float | None


def run(config: ConvertConfig, map_tasks: TaskRunner = run_serially) -> ConversionReport:
    """Make the store that `config` describes, unless it is there; take up what an interrupted run left.

    Raises SourceError (no such raw data, no readable sample, a broken one with `strict`), StoreError (a damaged store
    stands in the way, another writer does not end), OSError (disk full, no permission).
    """
    began = time.perf_counter()
    source = open_raw(config)
    layout = plan_layout(config, source)
    builder = StoreBuilder(config.out, layout)
    path, was_built = once(
        config.out,
        layout.name,
        find=lambda: _find_whole(config, source, map_tasks),
        make=lambda: _build(config, source, builder, map_tasks),
        tidy=builder.discard,
    )
    report = _report(path, config, source, was_built, began)
    for warning in report.warnings:
        logger.warning("%s: %s", config.raw, warning)
    if config.conversion.strict and report.quarantined:
        problem = next(iter(report.quarantined.values()))
        raise SourceError(
            f"{path}: was made without the {len(report.quarantined)} broken samples, the first: {problem}"
        )
    return report


def open_raw(config: ConvertConfig) -> Reader:
    """The raw data to convert, or recordings of its images by a simulated camera. Raises as `open_source` does."""
    if config.simulation is None:
        frames = config.frames
        return open_source(config.source, config.raw, frames.time_unit, frames.columns, frames.windows)
    camera = SimulationConfig.model_validate(config.simulation)
    return RecordedPhotos(open_source(config.source, config.raw), camera)


def plan_layout(config: ConvertConfig, source: Reader) -> StoreLayout:
    """The store to be made."""
    return StoreLayout(
        kind=source.kind,
        dataset=source.name,
        num_samples=len(source.samples),
        samples_per_shard=config.conversion.samples_per_shard,
        class_names=source.class_names,
        config=config.for_kind(source.kind),
        recipe=recipes(config, source)[0],
        arrays=array_layouts(source, config),
    )


def _find_whole(config: ConvertConfig, source: Reader, map_tasks: TaskRunner) -> Path | None:
    """The store that holds what `config` makes of what the raw files hold now, if there is one."""
    candidates = find_stores(config.out, source.name, *recipes(config, source))
    if not candidates:
        return None
    manifest = manifest_digest(take_identities(source, source.samples, map_tasks))
    return next((path for path, found in candidates.items() if found.manifest_digest == manifest), None)


def _build(config: ConvertConfig, source: Reader, builder: StoreBuilder, map_tasks: TaskRunner) -> Path:
    layout = builder.layout
    missing = builder.begin()
    own = _forget_changed(source, builder, missing, map_tasks) if len(missing) < layout.num_shards else {}
    missing = [shard for shard in range(layout.num_shards) if shard not in own]
    own |= convert_shards(config, source, layout, missing, map_tasks, "convert")
    columns = columns_from_rows(builder.read_rows(), source.kind)
    _require_own(builder, identities_of(columns), own)
    readable = np.flatnonzero(columns["problem"] == "")
    try:
        if not len(readable):
            problems = "\n  ".join(columns["problem"][:MAX_PROBLEMS_SHOWN])
            raise SourceError(f"{config.raw}: none of the {layout.num_samples} samples can be read:\n  {problems}")
        if source.kind == "events" and not config.frames.crop:
            _require_one_sensor(config, columns["sensor_size"][readable], columns["sample_id"][readable])
    except SourceError:
        builder.discard()
        raise
    return builder.finish(columns, manifest_digest(identities_of(columns)))


def _require_one_sensor(config: ConvertConfig, sensor_sizes: NDArray[np.int64], sample_ids: NDArray[Any]) -> None:
    """Without `crop` every recording shows its whole sensor, and frames of other sensors would not be comparable."""
    sizes, firsts = np.unique(sensor_sizes, axis=0, return_index=True)
    if len(sizes) > 1:
        shown = ", ".join(
            "{} x {} ({})".format(*sensor_sizes[row], sample_ids[row]) for row in np.sort(firsts)[:3].tolist()
        )
        raise SourceError(
            f"{config.raw}: the recordings are of sensors of different sizes, {shown}; crop = false needs one size: "
            "set crop = true, or take the recordings of one sensor"
        )


def _require_own(builder: StoreBuilder, identities: Iterator[Identity], own: Mapping[int, str]) -> None:
    """Every shard is of this writer's raw data: one that was taken for dead may still write what it had read.

    own: of each shard, the digest of its samples' identities.
    """
    for shard in range(builder.layout.num_shards):
        if manifest_digest(islice(identities, len(builder.layout.rows_of(shard)))) != own[shard]:
            raise StoreError(
                f"{builder.partial}: another process wrote shard {shard} meanwhile, of raw data with other contents; "
                "when it has ended, run the same command again"
            )


def _forget_changed(source: Reader, builder: StoreBuilder, missing: list[int], map_tasks: TaskRunner) -> dict[int, str]:
    """The shards that stay when a build goes on, each with the digest of its samples' identities: raw files of the
    others have changed."""
    layout = builder.layout
    finished = sorted(set(range(layout.num_shards)) - set(missing))
    samples = tuple(source.samples[row] for shard in finished for row in layout.rows_of(shard))
    now, kept = set(take_identities(source, samples, map_tasks)), dict[int, str]()
    for shard, rows in zip(finished, builder.read_shard_rows(finished), strict=True):
        if any(identity_of_row(row) not in now for row in rows):
            builder.forget(shard)
        else:
            kept[shard] = manifest_digest(map(identity_of_row, rows))
    return kept


def _report(path: Path, config: ConvertConfig, source: Reader, was_built: bool, began: float) -> ConversionReport:
    store = FrameStore(path)
    totals: dict[str, int | None] = dict.fromkeys(("num_events", "num_dropped", "num_saturated"))
    if store.kind == "events":
        totals = {name: int(store.column(name).sum()) for name in totals}
    ignored = source.ignored_files()
    broken = np.flatnonzero(~store.valid)
    num_events = totals["num_events"]
    seconds = time.perf_counter() - began
    return ConversionReport(
        path=path,
        source=config.source,
        was_built=was_built,
        num_samples=int(store.valid.sum()),
        quarantined={str(store.sample_id[row]): str(store.column("problem")[row]) for row in broken},
        ignored_files=ignored,
        share_in_frames=share_in_frames(store),
        warnings=notices(store, source, ignored, config.frames),
        megabytes=sum(chunk.num_bytes for chunk in store.attributes.files.values()) / 1e6,
        seconds=seconds,
        mev_per_s=num_events / seconds / 1e6 if was_built and num_events is not None else None,
        **totals,
    )
