"""A recording to frames: cut into time bins, count per pixel and polarity, resize, store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ..sources.atis import decode_records
from ..sources.base import LARGEST_SENSOR, MAX_SENSOR_SIDE, AtisRecords, Events, EventStream, Recording
from .checked import Box, CheckedEvents, CheckedRecording, CheckedRecords, Indices
from .kernels import MOST_NARROW, num_spare, store_half
from .resize import RAW_ADDRESSES, Axis, address_tables, counts_shape, plan_columns, plan_rows
from .spec import FramesConfig, Order
from .streamed import CheckedStream


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one recording, and what was counted on the way.

    data: (T, 2, H, W), polarity 0 = OFF, 1 = ON, in the storage dtype.
    num_events: events in the recording (overflow markers are none).
    num_dropped: events outside every bin, in no frame.
    num_in_frames: events in a bin, at a pixel that the resize reads with a weight above 0: what the frames show.
    num_saturated: values of `data` that were clipped to the largest one that the dtype holds.
    num_moved: events that were earlier than one before them, and were sorted.
    duration_us: last time minus first time.
    origin, extent: the part of the sensor that the frames show, (x, y) of its corner and (width, height), in pixels.
    """

    data: NDArray[Any]
    num_events: int
    num_dropped: int
    num_in_frames: int
    num_saturated: int
    duration_us: int
    origin: tuple[int, int]
    extent: tuple[int, int]
    num_moved: int = 0


def make_frames(
    recording: Recording,
    config: FramesConfig,
    sensor_size: tuple[int, int] | None = None,
    location: str = "recording",
) -> Frames:
    """Frames of a recording as the configuration says (see `FramesConfig` and `bin_edges`).

    recording: events, held or in pieces, or raw records, which are counted without being decoded first.
    sensor_size: (width, height) in pixels, bounds x and y, where neither the recording nor `config` says it.
    location: the file, as messages name it.

    Raises SourceError when the recording is empty, not a whole number of records, not ordered in time, has
    coordinates outside the sensor, or does not say how large the sensor is and `config` needs that.
    """
    if not isinstance(recording, Events | EventStream | AtisRecords):
        raise SourceError(f"{location}: its reader gave {type(recording).__name__}, expected Events or EventStream")
    checked = _check(recording, _sensor_size(recording, config, sensor_size, location), location, config.order)
    width, height = checked.sensor_size
    box = checked.extent if config.crop else Box(0, 0, width, height)
    _, _, out_height, out_width = config.frame_shape(checked.sensor_size)
    columns = plan_columns(box.x, box.width, max(width, RAW_ADDRESSES), config.resize, out_width)
    rows = plan_rows(box.y, box.height, max(height, RAW_ADDRESSES), config.resize, out_height)
    edges = bin_edges(checked, config)
    values, num_unread = _values(checked, edges, columns, rows, config.dtype)
    data, num_saturated = store(values, config.dtype)
    num_counted = checked.num_events_between(int(edges[0]), int(edges[-1]))
    return Frames(
        data=data,
        num_events=checked.num_events,
        num_dropped=checked.num_events - num_counted,
        num_in_frames=int(edges[-1] - edges[0]) - num_unread,
        num_saturated=num_saturated,
        duration_us=checked.last_us - checked.first_us,
        origin=(box.x, box.y),
        extent=(box.width, box.height),
        num_moved=checked.num_moved,
    )


def _sensor_size(
    recording: Recording, config: FramesConfig, usual: tuple[int, int] | None, location: str
) -> tuple[int, int]:
    """What bounds x and y: what the recording says, else the configuration, else what is `usual` in the data set."""
    size, wanted = recording.sensor_size, config.sensor_size
    if size is not None and not (
        isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, int | np.integer) for side in size)
    ):
        raise SourceError(f"{location}: its reader gave sensor_size={size!r}, expected (width, height) in pixels")
    if config.needs_whole_sensor and size is not None and wanted is not None and size != wanted:
        raise SourceError(
            f"{location}: its sensor has {size[0]} x {size[1]} pixels, sensor_size is {wanted[0]} x {wanted[1]}; with "
            "crop = false or resize 'none' all recordings need the same: leave it out, or set crop = true"
        )
    if size is not None and not all(1 <= side <= MAX_SENSOR_SIDE for side in size):
        raise SourceError(f"{location}: announces a sensor of {size[0]} x {size[1]} pixels; refused")
    size = size or wanted or usual
    if size is None and config.needs_whole_sensor:
        raise SourceError(
            f"{location}: does not say how large its sensor is, which crop = false and resize 'none' need: "
            "set frames.sensor_size = [width, height] (--sensor-size WIDTH HEIGHT)"
        )
    return size or LARGEST_SENSOR


def _check(recording: Recording, sensor_size: tuple[int, int], location: str, order: Order) -> CheckedRecording:
    if isinstance(recording, AtisRecords):
        records = CheckedRecords(recording.data, sensor_size, location, order)
        if records.is_ordered:
            return records
        recording = decode_records(recording)
    if isinstance(recording, EventStream):
        return CheckedStream(recording, sensor_size, location, order)
    return CheckedEvents(recording, sensor_size, location, order=order)


def _values(
    recording: CheckedRecording, edges: Indices, columns: Axis, rows: Axis, dtype: str
) -> tuple[NDArray[Any], int]:
    """The frames before they are stored, (T, 2, H, W), and how many records of the bins are in none of their pixels.

    Whole counts, or if resized float32; float16 at once where that is wanted and holds all of them.
    """
    num_bins = edges.size - 1
    tables = address_tables(columns, rows)
    shape = counts_shape(columns, rows)
    num_places = len(tables.columns)
    most = int(edges[-1] - edges[0])
    if most * num_places > MOST_NARROW:
        most = int((edges[1:] - edges[:-1]).max())
    is_narrow = most * num_places <= MOST_NARROW
    count_type: type[np.uint16 | np.uint32] = np.uint16 if is_narrow else np.uint32
    if rows.taps is None or columns.taps is None:
        counts = np.zeros((num_bins, *shape), count_type)
        recording.count(edges, tables, counts)
        return counts[:, :, :-1, :-2], int(num_spare(counts.reshape(-1, *shape[1:]), num_places))
    weights = columns.taps.weight
    is_half = is_narrow and dtype == "float16"
    resized = np.empty((num_bins, 2, rows.taps.weight.size, weights.size), np.uint16 if is_half else np.float32)
    num_unread = recording.resize(edges, tables, rows.taps, weights, np.empty((1, *shape), count_type), resized)
    return resized.view(np.float16) if is_half else resized, num_unread


def bin_edges(recording: CheckedRecording, config: FramesConfig) -> Indices:
    """Index of the first record of each bin, and the end of the last one: (T + 1,), ascending.

    With t0, t1 the first and last time, n events, T bins, all in whole numbers:

    time    window = (t1 - t0) // T, bin k holds t0 + k window <= t < t0 + (k + 1) window: tonic's `n_time_bins`.
            The last event is always left out, and everything if t1 - t0 < T.
    exact   the same, but the last bin has no end. The other bins are those of `time`, so the modes can be compared.
    window  bin k holds t0 + k window_us <= t < t0 + (k + 1) window_us: the first bins of tonic's `time_window`. An
            incomplete window is kept, bins after the recording's end are empty, events after the last bin left out.
    count   bin k holds the events k (n // T) to (k + 1) (n // T) - 1: tonic's `n_event_bins`. The rest is left out.
    """
    num_bins = config.num_bins
    if config.mode == "count":
        return recording.edges_at_events(np.arange(num_bins + 1) * (recording.num_events // num_bins))
    duration_us = recording.last_us - recording.first_us
    window_us = config.window_us if config.window_us is not None else duration_us // num_bins
    edges = recording.first_us + window_us * np.arange(num_bins + 1)  # below 2**55
    if config.mode == "exact":
        edges[-1] = recording.last_us + 1
    return recording.edges_at_times(edges)


def store(values: NDArray[Any], dtype: str) -> tuple[NDArray[Any], int]:
    """Values in the storage dtype, and how many had to be clipped to the largest one it holds.

    float16 rounds to the nearest, an error of at most 2**-11 of the value (half a count at 1024); whole counts up to
    2048 are exact. Its largest value is 65504.
    """
    if values.dtype == np.float16 or dtype == "float32":
        return values.astype(dtype, copy=False), 0
    if dtype == "float16":
        singles = np.ascontiguousarray(values, np.float32)
        halves = np.empty(values.shape, np.uint16)
        num_clipped = int(store_half(singles.reshape(-1), halves.reshape(-1)))
        return halves.view(np.float16), num_clipped
    largest = np.iinfo(dtype).max
    num_clipped = int(np.count_nonzero(values > largest))
    return np.minimum(values, largest).astype(dtype), num_clipped
