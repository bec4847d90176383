"""One shard: read its samples, make frames or images of them, write them. What the workers run.

Also the samples' identity, of which a store's fingerprint is made: what must not change for one to be up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.digests import manifest_digest
from ...cache.errors import SourceError
from ...cache.writer import ArrayLayout, Columns, StoreBuilder, StoreLayout
from ..frames.binning import make_frames
from ..frames.images import encode_image
from ..frames.strokes import NUM_DOTS, encode_strokes
from ..sources.base import LARGEST_SENSOR, AtisRecords, Sample
from ..sources.images import require_image
from ..sources.random_access import RandomAccess
from ..sources.reader import ImageReader, Reader
from ..tasks import TaskRunner
from .config import ConvertConfig

Row = dict[str, Any]
Identity = tuple[str, str, str]  # of a sample: id, digest of its file, metadata (JSON or "")

SAMPLES_PER_TASK = 256
ROWS_AT_A_TIME = 4096
UNREADABLE = "unreadable"
TEXTS = ("sample_id", "source_digest", "problem", "metadata", "guessed_unit", "assumed")  # columns; others are int64
COMMON_COLUMNS = ("label", "sample_id", "source_digest", "problem", "metadata", "sensor_size")
COUNTS = ("num_events", "num_dropped", "num_in_frames", "num_saturated", "duration_us")
COLUMNS_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "events": (*COMMON_COLUMNS, *COUNTS, "guessed_unit"),
    "images": COMMON_COLUMNS,
}
UNUSUAL_COLUMNS = ("assumed", "num_moved")
"""Those of events that a store leaves out where no recording has anything in them."""
_OF_THIS_RUN = re.compile(r" at 0x[0-9a-f]+|/proc/\d+/fd/\d+")


@dataclass(frozen=True)
class ShardTask:
    """The samples of one shard, to be read, converted and written.

    listing: the digest of the source's as the command opened it, of which the store's recipe is made.
    """

    config: ConvertConfig
    source: Reader
    listing: str
    layout: StoreLayout
    shard: int

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Raises SourceError: the source, opened again in a worker, lists others now."""
        self.source.require_listing(self.listing)
        rows = self.layout.rows_of(self.shard)
        return self.source.samples[rows.start : rows.stop]


def convert_shards(
    config: ConvertConfig, source: Reader, layout: StoreLayout, shards: Iterable[int], map_tasks: TaskRunner, do: str
) -> dict[int, str]:
    """Convert and write these shards; `do` is what is shown of it. Of each, what `convert_shard` gives.

    Raises as that does.
    """
    tasks = [ShardTask(config, source, source.listing_digest, layout, shard) for shard in shards]
    digests = map_tasks(convert_shard, tasks, label=f"{do} {source.name}")
    return {task.shard: digest for task, digest in zip(tasks, digests, strict=True)}


def convert_shard(task: ShardTask) -> str:
    """Convert and write one shard; returns the digest of its samples' identities.

    Raises SourceError when a sample is broken and the configuration is `strict`, when the raw data changed since the
    command listed them, or when memory runs out: that is no fault of the sample, which is therefore not quarantined.
    """
    samples = task.samples
    try:
        arrays = {
            name: np.zeros((len(samples), *array.sample_shape), array.dtype)
            for name, array in task.layout.arrays.items()
        }
        rows = [
            _convert_sample(task.source, sample, task.config, {name: array[i] for name, array in arrays.items()})
            for i, sample in enumerate(samples)
        ]
        StoreBuilder(task.config.out, task.layout).write_shard(task.shard, arrays, rows)
    except MemoryError as error:
        raise SourceError(
            f"{samples[0].location}: not enough memory to convert the samples {samples[0].sample_id} to "
            f"{samples[-1].sample_id} ({error}); use fewer workers (--workers) or smaller shards "
            "(conversion.samples_per_shard)"
        ) from None
    return manifest_digest(map(identity_of_row, rows))


def array_layouts(source: Reader, config: ConvertConfig) -> dict[str, ArrayLayout]:
    """The arrays of the store that this source and configuration give."""
    if source.kind == "events":
        sensor_size = config.frames.sensor_size or source.sensor_size
        if sensor_size is None and config.frames.resize == "none":
            raise SourceError(
                f"{config.raw}: resize 'none' keeps the sensor's pixels, and how many there are is not known: "
                "set frames.sensor_size = [width, height] (--sensor-size WIDTH HEIGHT)"
            )
        shape = config.frames.frame_shape(sensor_size or LARGEST_SENSOR)
        return {"frames": ArrayLayout(shape, config.frames.dtype)}
    size = config.images.size
    arrays = {"images": ArrayLayout((3, size, size), "uint8"), "value": ArrayLayout((1, size, size), "float32")}
    has_strokes = isinstance(source, ImageReader) and source.has_strokes
    return arrays | ({"strokes": ArrayLayout((NUM_DOTS, 4), "float32")} if has_strokes else {})


def columns_from_rows(rows: Iterable[Row], kind: str) -> Columns:
    """The rows of a store as columns; strings as numpy's variable-width strings.

    A row takes several times the memory of its part of the columns, so that few are held at a time.
    """
    left = iter(rows)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*COLUMNS_OF_KIND[kind], *UNUSUAL_COLUMNS)}
    while some := list(islice(left, ROWS_AT_A_TIME)):
        for name, part in parts.items():
            values = [row.get(name, _nothing(name)) for row in some]
            part.append(np.array(values, np.dtypes.StringDType() if name in TEXTS else np.int64))
    columns = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    unused = {name for name in UNUSUAL_COLUMNS if not (columns[name] != _nothing(name)).any()}
    return {name: values for name, values in columns.items() if name not in unused}


def _nothing(column: str) -> str | int:
    return "" if column in TEXTS else 0


def take_identities(source: Reader, samples: Sequence[Sample], map_tasks: TaskRunner) -> list[Identity]:
    """The identity of each of the samples, in their order, without converting them.

    Raises SourceError when the raw data changed since they were listed.
    """
    tasks = [
        (source, source.listing_digest, samples[first : first + SAMPLES_PER_TASK])
        for first in range(0, len(samples), SAMPLES_PER_TASK)
    ]
    return [identity for part in map_tasks(_identify, tasks, label=f"check {source.name}") for identity in part]


def identities_of(columns: Columns) -> Iterator[Identity]:
    """The identities that the samples had when they were converted, in their order."""
    yield from zip(columns["sample_id"], columns["source_digest"], columns["metadata"], strict=True)


def identity_of_row(row: Row) -> Identity:
    """The identity that a sample has, or had when it was converted."""
    return row["sample_id"], row["source_digest"], row["metadata"]


def _identify(task: tuple[Reader, str, Sequence[Sample]]) -> list[Identity]:
    source, listing, samples = task
    source.require_listing(listing)
    return [identity_of_row(_read(source, sample)[0]) for sample in samples]


def _read(source: Reader, sample: Sample) -> tuple[Row, bytes | RandomAccess]:
    """A sample's file, what `decode` takes, and what is known of it so far; why it cannot be read is the `problem`."""
    data: bytes | RandomAccess = b""
    row: Row = {name: "" if name in TEXTS else 0 for name in COLUMNS_OF_KIND[source.kind]}
    row |= {"sample_id": sample.sample_id, "source_digest": UNREADABLE, "label": -1, "sensor_size": [0, 0]}
    try:
        data = source.read_content(sample)
        row["source_digest"] = source.digest_of(sample, data)
        if found := source.metadata(sample):
            row["metadata"] = _as_json(found, sample)
    except SourceError as error:
        row["problem"] = _problem_of(error)
    return row, data


def _as_json(metadata: Any, sample: Sample) -> str:
    try:
        return json.dumps(metadata, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{sample.location}: its reader gave metadata that JSON cannot hold: {error}") from None


def _decode(source: Reader, sample: Sample, data: bytes | RandomAccess) -> Any:
    """What the reader makes of a sample; an error in the reader itself says which sample it was."""
    try:
        return source.decode(sample, data)
    except SystemExit:
        raise SourceError(f"{sample.location}: its reader called sys.exit; expected SourceError") from None
    except (SourceError, MemoryError):
        raise
    except Exception as error:
        error.add_note(
            f"{sample.location}: in decode of {type(source).__name__}; where the file is at fault, raise SourceError"
        )
        raise


def _problem_of(error: SourceError) -> str:
    """The message as a store keeps it: without addresses in memory and open files, which each run has its own of."""
    return _OF_THIS_RUN.sub("", str(error))


def _convert_sample(source: Reader, sample: Sample, config: ConvertConfig, out: dict[str, NDArray[Any]]) -> Row:
    """The sample's row; `out` is filled, or left zero when the sample is quarantined."""
    row, data = _read(source, sample)
    if not row["problem"]:
        try:
            converted = _convert(_decode(source, sample, data), source, sample, config, out)
            if not isinstance(data, bytes):  # was read more than once: the digest must be of what was converted
                data.require_unchanged()
            return row | {"label": sample.label} | converted
        except SourceError as error:
            row["problem"] = _problem_of(error)
    if config.conversion.strict:
        raise SourceError(row["problem"])
    for array in out.values():
        array[...] = 0
    return row


def _convert(decoded: Any, source: Reader, sample: Sample, config: ConvertConfig, out: dict[str, NDArray[Any]]) -> Row:
    """Fill `out` from a recording or an image; what its row says of it."""
    if isinstance(source, ImageReader):
        image = require_image(decoded, sample.location)
        out["images"][...], out["value"][...] = encode_image(image, config.images)
        if source.has_strokes:
            out["strokes"][...] = encode_strokes(source.read_strokes(sample), sample.location)
        return {"sensor_size": [image.shape[1], image.shape[0]]}
    frames = make_frames(decoded, config.frames, source.sensor_size, sample.location)
    out["frames"][...] = frames.data
    assumed = "" if isinstance(decoded, AtisRecords) else decoded.assumed
    return {
        **{name: getattr(frames, name) for name in COUNTS},
        "guessed_unit": "" if isinstance(decoded, AtisRecords) else decoded.guessed_unit or "",
        "sensor_size": list(frames.extent),
        **({"assumed": assumed} if assumed else {}),
        **({"num_moved": frames.num_moved} if frames.num_moved else {}),
    }
