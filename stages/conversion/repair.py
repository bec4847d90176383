"""Repairing a store: the files that fail are made again from the raw data, and must come out as they were recorded.

Only the shards that fail are converted, beside the store; a column or an array's metadata follow from all shards.
Whoever reads the store meanwhile reads whole files: each is put in its place by renaming it, or as an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...cache import durable
from ...cache.digests import content_digest, file_digest
from ...cache.errors import StoreError
from ...cache.locks import writer_lock
from ...cache.places import copy_objects, is_address, place, read_object, remove_folder, remove_objects
from ...cache.schema import REPAIR_SUFFIX, ChunkFile, StoreAttributes
from ...cache.store import FrameStore, read_attributes
from ...cache.verify import verify_store
from ...cache.writer import StoreBuilder
from ..tasks import TaskRunner, run_serially
from . import run as conversion
from .config import ConvertConfig
from .recipe import recipes
from .shards import convert_shards


@dataclass(frozen=True)
class RepairReport:
    """What a repair did. repaired, removed: files inside the store. num_shards: converted again, of `of_shards`."""

    path: Path
    repaired: tuple[str, ...]
    removed: tuple[str, ...]
    num_shards: int
    of_shards: int


def run(path: Path, raw: Path, map_tasks: TaskRunner = run_serially) -> RepairReport:
    """Make the damaged files of the store at `path` again from the raw data at `raw`; foreign files are removed.

    Raises StoreError: attributes that are damaged too, a pair store, other raw data than made the store, or a reader or
    frames of another version. SourceError: no such raw data. The store is not touched then.
    """
    path = place(path)
    attributes = read_attributes(path)
    if attributes.kind == "pairs":
        raise StoreError(f"{path}: a pair store is quickly made again; delete it, then run `dvs-transfer preprocess`")
    work = path.with_name(f".{path.name}{REPAIR_SUFFIX}")
    with writer_lock(path.parent, path.name), ExitStack() as in_the_end:
        remove_folder(work)  # a repair that was killed may have made it of other raw data
        in_the_end.callback(remove_folder, work)
        bad = verify_store(path).bad
        wrong = [key for key in bad if key in attributes.files]
        made, num_shards = _make_again(_config(attributes, raw, work), attributes, wrong, map_tasks)
        for key in wrong:
            if key not in made or _digest(made[key], attributes.files[key]) != attributes.files[key].digest:
                raise StoreError(
                    f"{path / key}: comes out otherwise than it was recorded: raw files in {raw} have changed since; "
                    "delete the store and convert again"
                )
        foreign = [key for key in bad if key not in attributes.files]
        if is_address(path):
            copy_objects([(made[key], path / key) for key in wrong])
            remove_objects([path / key for key in foreign])
        else:
            _move_files({made[key]: path / key for key in wrong})
            for key in foreign:
                (path / key).unlink()
    of_shards = -(-attributes.num_samples // attributes.samples_per_shard)
    return RepairReport(path, tuple(wrong), tuple(foreign), num_shards, of_shards)


def _digest(file: Path, recorded: ChunkFile) -> str:
    return content_digest(read_object(file, recorded.num_bytes + 1)) if is_address(file) else file_digest(file)


def _move_files(targets: Mapping[Path, Path]) -> None:
    for made, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        durable.sync(target.parent)


def _config(attributes: StoreAttributes, raw: Path, out: Path) -> ConvertConfig:
    """What the store was made with, for raw data at `raw`."""
    recorded = dict(attributes.config)
    samples_per_shard = recorded.pop("samples_per_shard")
    return ConvertConfig.model_validate(
        {**recorded, "raw": raw, "out": out, "conversion": {"samples_per_shard": samples_per_shard}}
    )


def _make_again(
    config: ConvertConfig, attributes: StoreAttributes, wrong: Sequence[str], map_tasks: TaskRunner
) -> tuple[dict[str, Path], int]:
    """Where files of the store lie anew, those `wrong` among them, and how many shards were converted for them."""
    if not wrong:
        return {}, 0
    source = conversion.open_raw(config)
    if attributes.recipe not in recipes(config, source):
        raise StoreError(
            f"{config.raw}: holds other samples than the store was made of, or another version of this software, whose "
            "output differs, made it; delete the store and convert again"
        )
    layout = conversion.plan_layout(config, source)
    if any(key.split("/")[0] not in layout.arrays or "/c/" not in key for key in wrong):
        again = FrameStore(conversion.run(config, map_tasks).path)
        return {key: again.path / key for key in again.attributes.files}, layout.num_shards
    shards = {int(key.split("/")[2]) for key in wrong}
    builder = StoreBuilder(config.out, layout)
    builder.begin()
    convert_shards(config, source, layout, sorted(shards), map_tasks, "repair")
    return {key: file for shard in shards for key, file in builder.shard_files(shard).items()}, len(shards)
