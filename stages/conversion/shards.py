"""One shard: read its samples, make frames or images of them, write them. What the workers run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ...cache.writer import ArrayLayout, StoreBuilder, StoreLayout
from ..frames.binning import make_frames
from ..frames.images import encode_image
from ..sources.base import LARGEST_SENSOR, AtisRecords, Recording, Sample, UInt8Array
from ..sources.reader import Reader
from .config import ConvertConfig
from .manifest import problem_of, read_raw

Arrays = dict[str, NDArray[Any]]
Row = dict[str, Any]

STRING = "string"
COMMON_COLUMNS = {
    "label": "int64",
    "sample_id": STRING,
    "source_digest": STRING,
    "problem": STRING,
    "metadata": STRING,
    "sensor_size": "int64",
}
COLUMNS_OF_KIND: Mapping[str, Mapping[str, str]] = {
    "events": {
        **COMMON_COLUMNS,
        "num_events": "int64",
        "num_dropped": "int64",
        "num_in_frames": "int64",
        "num_saturated": "int64",
        "duration_us": "int64",
        "guessed_unit": STRING,
    },
    "images": COMMON_COLUMNS,
}


@dataclass(frozen=True)
class ShardTask:
    """The samples of one shard, to be read, converted and written."""

    config: ConvertConfig
    source: Reader
    layout: StoreLayout
    shard: int
    samples: tuple[Sample, ...]


def convert_shard(task: ShardTask) -> int:
    """Convert and write one shard; returns its number of samples.

    Raises SourceError when a sample is broken and the configuration is `strict`, or when memory runs out: that is no
    fault of the sample, which is therefore not quarantined.
    """
    try:
        return _convert_shard(task)
    except MemoryError as error:
        first, last = task.samples[0], task.samples[-1]
        raise SourceError(
            f"{first.location}: not enough memory to convert the samples {first.sample_id} to {last.sample_id} "
            f"({error}); use fewer workers (--workers) or smaller shards (conversion.samples_per_shard)"
        ) from None


def _convert_shard(task: ShardTask) -> int:
    source = task.source
    arrays = {
        name: np.zeros((len(task.samples), *array.sample_shape), array.dtype)
        for name, array in task.layout.arrays.items()
    }
    rows = []
    for position, sample in enumerate(task.samples):
        out = {name: array[position] for name, array in arrays.items()}
        rows.append(_convert_sample(source, sample, task.config, out))
    StoreBuilder(task.config.out, task.layout).write_shard(task.shard, arrays, rows)
    return len(rows)


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
    return {"images": ArrayLayout((3, size, size), "uint8"), "value": ArrayLayout((1, size, size), "float32")}


def columns_from_rows(rows: list[Row], kind: str) -> dict[str, NDArray[Any]]:
    """The rows of a store as columns; strings as numpy's variable-width strings."""
    return {
        name: np.array([row[name] for row in rows], np.dtypes.StringDType() if dtype == STRING else dtype)
        for name, dtype in COLUMNS_OF_KIND[kind].items()
    }


def _convert_sample(source: Reader, sample: Sample, config: ConvertConfig, out: Arrays) -> Row:
    """The sample's row; `out` is filled, or left zero when the sample is quarantined."""
    raw = read_raw(source, sample)
    row: Row = {name: "" if dtype == STRING else 0 for name, dtype in COLUMNS_OF_KIND[source.kind].items()}
    row |= {"sample_id": sample.sample_id, "source_digest": raw.digest, "metadata": raw.metadata, "sensor_size": [0, 0]}
    problem = raw.problem
    if not problem:
        try:
            decoded = source.decode(sample, raw.data)
            if isinstance(decoded, np.ndarray):
                converted = _encode(decoded, config, out)
            else:
                converted = _count(decoded, config, source.sensor_size, sample.location, out)
            if not isinstance(raw.data, bytes):  # was read more than once: the digest must be of what was converted
                raw.data.require_unchanged()
            return row | {"label": sample.label} | converted
        except SourceError as error:
            problem = problem_of(error)
    if config.conversion.strict:
        raise SourceError(problem)
    for array in out.values():
        array[...] = 0
    return row | {"label": -1, "problem": problem}


def _count(
    recording: Recording, config: ConvertConfig, sensor_size: tuple[int, int] | None, location: str, out: Arrays
) -> Row:
    frames = make_frames(recording, config.frames, sensor_size, location)
    out["frames"][...] = frames.data
    return {
        "num_events": frames.num_events,
        "num_dropped": frames.num_dropped,
        "num_in_frames": frames.num_in_frames,
        "num_saturated": frames.num_saturated,
        "duration_us": frames.duration_us,
        "guessed_unit": "" if isinstance(recording, AtisRecords) else recording.guessed_unit or "",
        "sensor_size": list(frames.extent),
    }


def _encode(rgb: UInt8Array, config: ConvertConfig, out: Arrays) -> Row:
    out["images"][...], out["value"][...] = encode_image(rgb, config.images)
    return {"sensor_size": [rgb.shape[1], rgb.shape[0]]}
