"""How fast recordings become frames, against tonic's reader and ToFrame, as ratios measured in one run on one core.

Three figures. The kernel alone: events in arrays to counts on 240 x 180 pixels. Raw file to finished 48 x 48 frames,
against tonic's reader, its ToFrame and torch's interpolate. The whole conversion (read, bin, resize, compress, write),
against the same three and one lzf-compressed HDF5 file for each recording, as tonic's disk cache writes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tonic.cached_dataset import save_to_disk_cache
from tonic.io import read_mnist_file
from tonic.transforms import ToFrame

from ..stages.conversion import run as conversion
from ..stages.conversion.config import ConvertConfig
from ..stages.frames.binning import bin_edges, make_frames
from ..stages.frames.checked import CheckedEvents
from ..stages.frames.resize import RAW_ADDRESSES, address_tables, counts_shape, plan_columns, plan_rows
from ..stages.frames.spec import FramesConfig
from ..stages.simulation import SimulationConfig, simulate_image
from ..stages.sources.atis import decode_records
from ..stages.sources.base import AtisRecords
from ..stages.sources.random_access import read_file
from .measure import Figures, machine, medians, one_core

SENSOR_SIZE = (240, 180)
NUM_BINS = 10
SIZE = 48
NUM_EVENTS = 115_000  # the mean of N-Caltech101
DURATION_US = 300_000
TARGETS = {"kernel_mev_per_s": 600, "raw_to_frame_ratio": 60, "conversion_ratio": 30, "simulation_mev_per_s": 20}


def run(
    nmnist: Path | None = None, *, folder: Path | None = None, num_recordings: int = 2048, num_turns: int = 5
) -> Figures:
    """Measure everything in this process, on one core: medians; times of one recording of `NUM_EVENTS` events, in us;
    ratios to tonic, `conversion_ratio` to the released way. The floor reads the recording's bytes once, from memory.

    nmnist: a folder with N-MNIST's `.bin` files, at any depth, to measure on real recordings (34 x 34, about 4,000
    events) too: `nmnist_us` and `nmnist_ratio`, None without them.
    folder: where to write; the system's place for temporary files if None. This project waits until its stores are on
    the disk, the released way does not, so a slow disk shows in `conversion_ratio`.
    """
    with one_core() as cores, tempfile.TemporaryDirectory(dir=folder) as name:
        files = _write_recordings(Path(name) / "raw", num_recordings)
        _check_against_tonic(files[0])
        ours, tonics = medians([lambda: _frames(files[0]), lambda: _tonic_frames(files[0])], num_turns, num_calls=20)
        real = None if nmnist is None else _nmnist(nmnist, num_turns)
        converted, released = _conversion(Path(name), files, num_turns)
        data = np.fromfile(files[0], np.uint8)
        words = data[: data.size // 8 * 8].view(np.uint64)
        return {
            "machine": machine(cores),
            "targets": TARGETS,
            "num_events": NUM_EVENTS,
            "num_recordings": num_recordings,
            "kernel_mev_per_s": NUM_EVENTS / _kernel_seconds(data, num_turns) / 1e6,
            "raw_to_frame_ratio": tonics / ours,
            "raw_to_frame_us": ours * 1e6,
            "tonic_raw_to_frame_us": tonics * 1e6,
            "nmnist_us": real and real[0] * 1e6,
            "nmnist_ratio": real and real[1] / real[0],
            "conversion_ratio": released / converted,
            "conversion_us": converted * 1e6,
            "released_conversion_us": released * 1e6,
            "floor_us": medians([words.sum], num_turns, num_calls=20)[0] * 1e6,
            "simulation_mev_per_s": _simulation_mev_per_s(num_turns),
        }


def synthetic_records(num_events: int, seed: int) -> NDArray[np.uint8]:
    """A recording (5 * n,) uint8 like N-Caltech101's: edges of a picture that moves in three saccades, and some noise.

    An ON edge and an OFF edge lie side by side, and rates vary along the saccade, as they do for a moving object.
    """
    rng = np.random.default_rng(seed)
    width, height = SENSOR_SIZE
    saccade = rng.integers(0, 3, num_events)
    phase = (1 - np.cos(np.pi * rng.random(num_events))) / 2  # slow at both ends
    order = np.argsort(saccade + phase)
    saccade, phase = saccade[order], phase[order]
    t = ((saccade + phase) / 3 * DURATION_US).astype(np.int64)
    corners = np.array([[0.0, 0.0], [12.0, 14.0], [24.0, 0.0], [0.0, 0.0]])
    shift = corners[saccade] + (corners[saccade + 1] - corners[saccade]) * phase[:, None]
    curve = rng.integers(0, 12, num_events)
    angle = rng.random(num_events) * 2 * np.pi
    p = rng.integers(0, 2, num_events)
    radius = 8 + 6 * curve + 3 * p + rng.normal(0, 1, num_events)
    x = np.clip(108 + radius * 1.4 * np.cos(angle) + shift[:, 0], 0, width - 1)
    y = np.clip(82 + radius * np.sin(angle) + shift[:, 1], 0, height - 1)
    noise = rng.random(num_events) < 0.02
    x = np.where(noise, rng.integers(0, width, num_events), x)
    y = np.where(noise, rng.integers(0, height, num_events), y)
    records = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1)
    return records.astype(np.uint8).reshape(-1)


def _write_recordings(root: Path, num_recordings: int) -> list[Path]:
    """Recordings in N-Caltech101's layout, in two classes; the same few contents again and again."""
    contents = [synthetic_records(NUM_EVENTS, seed) for seed in range(min(num_recordings, 16))]
    files = []
    for number in range(num_recordings):
        folder = root / "Caltech101" / ("accordion" if number % 2 else "airplanes")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"image_{number // 2 + 1:04d}.bin")
        contents[number % len(contents)].tofile(files[-1])
    return files


def _frames(file: Path, sensor_size: tuple[int, int] = SENSOR_SIZE, dtype: str = "float16") -> NDArray[Any]:
    records = AtisRecords(np.frombuffer(read_file(str(file)) or b"", np.uint8), sensor_size)
    return make_frames(records, _config(dtype)).data


@cache
def _config(dtype: str) -> FramesConfig:
    return FramesConfig.model_validate({"num_bins": NUM_BINS, "size": SIZE, "dtype": dtype})


def _tonic_frames(file: Path) -> NDArray[Any]:
    return tonic_frames_of(read_mnist_file(str(file), dtype=np.dtype([(name, int) for name in "xytp"])))


def tonic_frames_of(events: NDArray[Any]) -> NDArray[Any]:
    """Of structured events, whose x and y are moved to the origin."""
    events["x"] -= events["x"].min()
    events["y"] -= events["y"].min()
    counts = torch.tensor(ToFrame(sensor_size=None, n_time_bins=NUM_BINS)(events), dtype=torch.float32)
    frames = torch.nn.functional.interpolate(counts, size=[SIZE, SIZE], mode="bilinear", align_corners=True)
    array: NDArray[Any] = frames.numpy()
    return array


def _check_against_tonic(file: Path) -> None:
    expected = _tonic_frames(file)
    difference = float(np.abs(_frames(file, dtype="float32") - expected).max())
    if difference > 1e-6 * expected.max():
        raise AssertionError(f"frames differ from tonic's by {difference}: nothing to compare the speed of")


def _kernel_seconds(data: NDArray[np.uint8], num_turns: int) -> float:
    """Bin edges, zeroing the counts and counting; the checks are not in it."""
    events = decode_records(AtisRecords(data, SENSOR_SIZE))
    recording = CheckedEvents(events, SENSOR_SIZE, "benchmark")
    config = FramesConfig(num_bins=NUM_BINS, resize="none")
    width, height = SENSOR_SIZE
    columns = plan_columns(0, width, RAW_ADDRESSES, "none", width)
    rows = plan_rows(0, height, RAW_ADDRESSES, "none", height)
    tables = address_tables(columns, rows)
    counts = np.empty((NUM_BINS, *counts_shape(columns, rows)), np.uint16)  # no bin has more than that holds

    def count() -> None:
        counts.fill(0)
        recording.count(bin_edges(recording, config), tables, counts)

    return medians([count], num_turns, num_calls=20)[0]


def _conversion(folder: Path, files: Sequence[Path], num_turns: int) -> tuple[float, float]:
    """Seconds for a recording: this project's conversion of all of them, and the released code's way with some.

    A store has fixed costs, so it is made of all recordings; the released way has none, an eighth of them will do.
    """
    some = files[: max(1, len(files) // 8)]
    number = iter(range(10**6))

    def convert() -> None:
        frames = FramesConfig(num_bins=NUM_BINS, size=SIZE)
        out = folder / f"store-{next(number)}"
        conversion.run(ConvertConfig(source="ncaltech101", raw=folder / "raw", out=out, frames=frames))

    def release() -> None:
        out = folder / f"cache-{next(number)}"
        out.mkdir()
        for i, file in enumerate(some):
            save_to_disk_cache(_tonic_frames(file), i % 2, file_path=out / f"{i}_0.hdf5")

    converted, released = medians([convert, release], num_turns)
    return converted / len(files), released / len(some)


def _simulation_mev_per_s(num_turns: int) -> float:
    """Million events a second that the simulator makes of a photo with the spectrum of natural ones."""
    photo, config = natural_photo(seed=0), SimulationConfig()
    (took,) = medians([lambda: simulate_image(photo, config, "benchmark/0")], num_turns, num_calls=20)
    return len(simulate_image(photo, config, "benchmark/0")) / took / 1e6


def natural_photo(seed: int) -> NDArray[np.uint8]:
    """Grey noise (180, 240) uint8 whose amplitudes fall as 1/f, as those of natural photos do (Field 1987)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(180)[:, None], np.fft.fftfreq(240))
    frequency[0, 0] = 1.0
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=frequency.shape)) / frequency).real
    photo: NDArray[np.uint8] = np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)
    return photo


def _nmnist(folder: Path, num_turns: int) -> tuple[float, float]:
    """Seconds for a real recording of N-MNIST, raw file to frames: ours, and tonic's."""
    files = sorted(folder.rglob("*.bin"))[:100]
    sides = [lambda: [_frames(file, (34, 34)) for file in files], lambda: [_tonic_frames(file) for file in files]]
    ours, tonics = medians(sides, num_turns)
    return ours / len(files), tonics / len(files)
