"""How far the simulator's recordings agree with real ones: one photo of N-Caltech101, and N-MNIST's held-out digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..stages.frames.binning import make_frames
from ..stages.frames.spec import FramesConfig
from ..stages.simulation import CAMERAS, SimulationConfig, simulate_image
from ..stages.simulation.motion import motion_margin, saccade_path
from ..stages.simulation.sensor import log_luminance, record
from ..stages.sources.atis import decode_records
from ..stages.sources.base import AtisRecords, Events, Sample, UInt8Array
from ..stages.sources.digits import Mnist, NMnist
from ..stages.sources.images import decode_image
from .frames import SENSOR_SIZE, machine

FRAMES: Final = FramesConfig(num_bins=10, size=48, resize="sum", dtype="float32")
MOST: Final = 10  # counts above say more of one pixel than of the picture
NUM_BINS: Final = 31  # of 10 ms; N-MNIST's recordings last a little longer than 300 ms
BIN_US: Final = 10_000
HOT: Final = 100  # events of one pixel that no edge explains: the median pixel of the photo has 2
CALIBRATED: Final = 300  # N-MNIST's training recordings up to this number set the simulator's defaults
MOST_DIGITS: Final = 300  # that are compared
ABLATIONS: Final[dict[str, dict[str, Any]]] = {
    "no blur": {"blur_px": 0.0},
    "black level 0.001": {"black_level": 0.001},
    "black level 0.1": {"black_level": 0.1},
    "luminance linear in grey (gamma 1)": {"gamma": 1.0},
    "thresholds 0.25": {"on_threshold": 0.25, "off_threshold": 0.25},
    "thresholds 0.4": {"on_threshold": 0.4, "off_threshold": 0.4},
    "no mismatch": {"threshold_sigma": 0.0},
    "no background activity": {"noise_rate_hz": 0.0},
    "refractory time 0.5 ms": {"refractory_us": 500},
    "pixels start at rest": {"start_spread": 0.0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorBenchReport:
    """pair, digits: what was measured, each with its value, in the order of the table; empty where not asked for."""

    pair: dict[str, str]
    digits: dict[str, str]
    machine: dict[str, str]

    def rows(self) -> dict[str, str]:
        """A table for people."""
        return self.pair | self.digits | self.machine


def run(
    *, recording: Path | None = None, photo: Path | None = None, nmnist: Path | None = None, mnist: Path | None = None
) -> SimulatorBenchReport:
    """Compare with a recording and the photo that it is of, and with N-MNIST's digits beyond the 300th.

    nmnist, mnist: folders as these sources take them. The defaults of `CAMERAS` were set by the first 300.
    """
    pair_rows: dict[str, str] = {}
    if recording is not None and photo is not None:
        real = decode_records(AtisRecords(np.fromfile(recording, np.uint8), SENSOR_SIZE))
        pair_rows = compare_pair(real, decode_image(photo.read_bytes(), str(photo)))
    digit_rows = compare_digits(nmnist, mnist) if nmnist is not None and mnist is not None else {}
    return SimulatorBenchReport(pair=pair_rows, digits=digit_rows, machine=machine(cores=1))


def compare_pair(real: Events, photo: UInt8Array) -> dict[str, str]:
    """Events, correlation of frames with the real ones and, in brackets, with polarities swapped; one change a row."""
    config, wanted = SimulationConfig(), _frames(real)

    def row(events: Events) -> str:
        frames = _frames(events)
        swapped = correlation(frames[:, ::-1], wanted)
        return f"{len(events):,} events, {correlation(frames, wanted):.3f} ({swapped:.3f})"

    def simulated(**changes: Any) -> Events:
        return simulate_image(photo, config.model_copy(update=changes), "pair")

    ours = simulated()
    rows = {
        "real": f"{len(real):,} events in {real.x.max() + 1} x {real.y.max() + 1} pixels",
        "simulated": f"{row(ours)} in {ours.x.max() + 1} x {ours.y.max() + 1} pixels",
        "placed as before": row(_recorded_with_margin(photo, config)),
        "placed as in the recording": row(_registered(photo, config)),
        "straight sides": row(record(log_luminance(photo, config), straight_path(config), config, "pair")),
    }
    rows |= {name: row(simulated(**changes)) for name, changes in ABLATIONS.items()}
    for name, picture in (("mirrored", photo[:, ::-1]), ("upside down", photo[::-1])):
        rows[name] = row(simulate_image(np.ascontiguousarray(picture), config, "pair"))
    rows["real without hot pixels"] = _without_hot(real, wanted, ours)
    again = simulate_image(photo, config.model_copy(update={"seed": 1}), "again")
    rows["two simulated sensors"] = f"{correlation(_frames(ours), _frames(again)):.3f}"
    rows["course of the photo"] = f"{_course_error(real, ours):.2f} of them in another bin of 10 ms"
    return rows


def _recorded_with_margin(photo: UInt8Array, config: SimulationConfig) -> Events:
    """The photo smaller by the motion's margin, and all pixels recorded that ever see it: as it was placed at first."""
    margin = motion_margin(config)
    width, height = config.sensor_width - margin, config.sensor_height - margin
    smaller = config.model_copy(update={"sensor_width": width, "sensor_height": height})
    log_image = np.pad(log_luminance(photo, smaller), margin, mode="edge")
    return record(log_image, saccade_path(config), config, "pair")


def _registered(photo: UInt8Array, config: SimulationConfig) -> Events:
    """Where the recording has its photo of 290 x 334: 0.9 % larger, and the field as far to the right and down."""
    margin, (width, height), (right, down) = motion_margin(config), (151, 173), (1, 2)
    log_image = log_luminance(photo, config.model_copy(update={"sensor_height": 182}))
    log_image = log_image[down : down + height + margin + 1, right : right + width + margin + 1]
    return record(np.ascontiguousarray(log_image), saccade_path(config), config, "pair")


def straight_path(config: SimulationConfig) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The motion as the paper describes it: three straight sides of a triangle, each a raised cosine of one saccade."""
    corners = config.amplitude_px * np.array([(0.0, 0.0), (0.5, 1.0), (1.0, 0.0), (0.0, 0.0)])
    share = np.linspace(0, 1, 31)[1:]
    moved = (1 - np.cos(np.pi * share[:, None])) / 2
    sides = [start + moved * (end - start) for start, end in pairwise(corners)]
    x, y = np.concatenate([corners[:1], *sides]).T
    return np.linspace(0, 3 * config.saccade_us, len(x)), np.ascontiguousarray(x), np.ascontiguousarray(y)


def compare_digits(nmnist: Path, mnist: Path) -> dict[str, str]:
    """Held-out training recordings of N-MNIST beside simulated ones of as many digits of each class.

    The digits are spread over MNIST's file, whose halves are of different writers.
    """
    events, images = NMnist(nmnist), Mnist(mnist)
    held_out = [
        sample
        for sample in events.samples
        if "train-" in sample.sample_id and CALIBRATED < int(sample.sample_id[-5:]) <= CALIBRATED + MOST_DIGITS
    ]
    digits = [
        digit
        for label in range(10)
        for digit in _spread([s for s in images.samples if s.label == label], sum(s.label == label for s in held_out))
    ]
    real = [_decoded(events, sample) for sample in held_out]
    pictures = [images.decode(sample, images.read_bytes(sample)) for sample in digits]
    ours = _simulated(pictures, CAMERAS["nmnist"])
    upright = _simulated(pictures, CAMERAS["nmnist"].model_copy(update={"inverted": False}))
    glowing = _simulated(pictures, CAMERAS["nmnist"].model_copy(update={"black_level": 0.001}))
    labels = np.array([sample.label for sample in held_out])
    by_class = [np.array([_counts(some)[labels == label].mean() for label in range(10)]) for some in (real, ours)]
    return {
        "held-out digits": str(len(real)),
        "events, real": _summary(real),
        "events, simulated": _summary(ours),
        "events, simulated, black level 0.001": _summary(glowing),
        "mean of each digit, simulated to real": ", ".join(f"{share:.2f}" for share in by_class[1] / by_class[0]),
        "ON share, real and simulated": f"{_on_share(real):.3f}, {_on_share(ours):.3f}",
        "course of the digits": f"{_course_error(*map(_joined, (real, ours))):.2f} of them in another bin of 10 ms",
        "mean frames, correlation": f"{correlation(*map(_mean_frames, (real, ours))):.3f}",
        "the same, not inverted": f"{correlation(*map(_mean_frames, (real, upright))):.3f}",
    }


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[i] for i in np.linspace(0, len(samples) - 1, count).astype(int)]


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's, over all values."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _frames(events: Events) -> NDArray[Any]:
    frames: NDArray[Any] = np.minimum(make_frames(events, FRAMES, SENSOR_SIZE).data, MOST)
    return frames


def _mean_frames(recordings: Sequence[Events]) -> NDArray[Any]:
    """(10, 2, 34, 34): where in N-MNIST's field digits fire on average, without a crop of each recording's own."""
    whole = FRAMES.model_copy(update={"crop": False, "size": 34})
    mean: NDArray[Any] = np.mean([make_frames(events, whole, (34, 34)).data for events in recordings], axis=0)
    return mean


def _without_hot(real: Events, wanted: NDArray[Any], ours: Events) -> str:
    place = real.y.astype(np.int64) * SENSOR_SIZE[0] + real.x
    counts = np.bincount(place)
    kept = counts[place] < HOT
    calm = Events(real.x[kept], real.y[kept], real.t[kept], real.p[kept])
    frames = _frames(ours)
    return (
        f"{(counts >= HOT).sum()} pixels with {len(real) - len(calm):,} events; {correlation(frames, wanted):.3f} "
        f"becomes {correlation(frames, _frames(calm)):.3f}"
    )


def _course_error(real: Events, ours: Events) -> float:
    """Half of the absolute differences of the two histograms of times, each of sum 1."""
    shares = [np.histogram(some.t, NUM_BINS, (0, NUM_BINS * BIN_US))[0] / len(some) for some in (real, ours)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _decoded(events: NMnist, sample: Sample) -> Events:
    records = events.decode(sample, events.read_bytes(sample))
    if not isinstance(records, AtisRecords):
        raise TypeError(f"{sample.location}: a recording of this length is read in pieces, which no digit is")
    return decode_records(records)


def _simulated(pictures: Sequence[UInt8Array], config: SimulationConfig) -> list[Events]:
    return [simulate_image(picture, config, str(i)) for i, picture in enumerate(pictures)]


def _counts(recordings: Sequence[Events]) -> NDArray[Any]:
    return np.array([len(events) for events in recordings])


def _summary(recordings: Sequence[Events]) -> str:
    counts = _counts(recordings)
    return f"mean {counts.mean():,.0f}, standard deviation {counts.std():,.0f}"


def _on_share(recordings: Sequence[Events]) -> float:
    return float(_joined(recordings).p.mean())


def _joined(recordings: Sequence[Events]) -> Events:
    x, y, t, p = (np.concatenate([getattr(events, name) for events in recordings]) for name in ("x", "y", "t", "p"))
    return Events(x, y, t, p)
