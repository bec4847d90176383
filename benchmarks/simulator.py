"""How far the simulator's recordings agree with real ones: one photo of N-Caltech101, and N-MNIST's held-out digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..stages.frames.binning import make_frames
from ..stages.frames.spec import FramesConfig
from ..stages.simulation import CAMERAS, SimulationConfig, simulate_image
from ..stages.sources.atis import decode_records
from ..stages.sources.base import AtisRecords, Events, Sample, UInt8Array
from ..stages.sources.digits import Mnist, NMnist
from ..stages.sources.images import decode_image
from .frames import SENSOR_SIZE
from .measure import Figures, machine

FRAMES: Final = FramesConfig(num_bins=10, size=48, resize="sum", dtype="float32")
MOST: Final = 10  # counts above say more of one pixel than of the picture
NUM_BINS: Final = 31  # of 10 ms; N-MNIST's recordings last a little longer than 300 ms
BIN_US: Final = 10_000
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


def run(
    *, recording: Path | None = None, photo: Path | None = None, nmnist: Path | None = None, mnist: Path | None = None
) -> Figures:
    """Compare with a recording and the photo that it is of (`pair`), and with N-MNIST's digits beyond the 300th
    (`digits`); empty where not asked for.

    nmnist, mnist: folders as these sources take them. The defaults of `CAMERAS` were set by the first 300.
    """
    pair_rows: dict[str, str] = {}
    if recording is not None and photo is not None:
        real = decode_records(AtisRecords(np.fromfile(recording, np.uint8), SENSOR_SIZE))
        pair_rows = compare_pair(real, decode_image(photo.read_bytes(), str(photo)))
    digit_rows = compare_digits(nmnist, mnist) if nmnist is not None and mnist is not None else {}
    return {"machine": machine(cores=1), "pair": pair_rows, "digits": digit_rows}


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
    }
    rows |= {name: row(simulated(**changes)) for name, changes in ABLATIONS.items()}
    for name, picture in (("mirrored", photo[:, ::-1]), ("upside down", photo[::-1])):
        rows[name] = row(simulate_image(np.ascontiguousarray(picture), config, "pair"))
    again = simulate_image(photo, config.model_copy(update={"seed": 1}), "again")
    rows["two simulated sensors"] = f"{correlation(_frames(ours), _frames(again)):.3f}"
    rows["course of the photo"] = f"{_course_error(real, ours):.2f} of them in another bin of 10 ms"
    return rows


def compare_digits(nmnist: Path, mnist: Path) -> dict[str, str]:
    """Held-out training recordings of N-MNIST beside simulated ones of as many digits of each class.

    The digits are spread over MNIST's file, whose halves are of different writers.
    """
    events, images = NMnist(nmnist), Mnist(mnist)
    last = CALIBRATED + MOST_DIGITS
    held_out = [s for s in events.samples if "train-" in s.sample_id and CALIBRATED < int(s.sample_id[-5:]) <= last]
    pictures = []
    for label in range(10):
        digits = [sample for sample in images.samples if sample.label == label]
        count = sum(sample.label == label for sample in held_out)
        spread = [digits[i] for i in np.linspace(0, len(digits) - 1, count).astype(int)]
        pictures += [images.decode(digit, images.read_bytes(digit)) for digit in spread]

    def simulated(**changes: Any) -> list[Events]:
        config = CAMERAS["nmnist"].model_copy(update=changes)
        return [simulate_image(picture, config, str(i)) for i, picture in enumerate(pictures)]

    real = [_decoded(events, sample) for sample in held_out]
    ours, upright, glowing = simulated(), simulated(inverted=False), simulated(black_level=0.001)
    labels = np.array([sample.label for sample in held_out])
    means = [np.array([_counts(some)[labels == label].mean() for label in range(10)]) for some in (ours, real)]
    shares = [float(_joined(some).p.mean()) for some in (real, ours)]
    return {
        "held-out digits": str(len(real)),
        "events, real": _summary(real),
        "events, simulated": _summary(ours),
        "events, simulated, black level 0.001": _summary(glowing),
        "mean of each digit, simulated to real": ", ".join(f"{share:.2f}" for share in means[0] / means[1]),
        "ON share, real and simulated": f"{shares[0]:.3f}, {shares[1]:.3f}",
        "course of the digits": f"{_course_error(*map(_joined, (real, ours))):.2f} of them in another bin of 10 ms",
        "mean frames, correlation": f"{correlation(*map(_mean_frames, (real, ours))):.3f}",
        "the same, not inverted": f"{correlation(*map(_mean_frames, (real, upright))):.3f}",
    }


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


def _course_error(real: Events, ours: Events) -> float:
    """Half of the absolute differences of the two histograms of times, each of sum 1."""
    shares = [np.histogram(some.t, NUM_BINS, (0, NUM_BINS * BIN_US))[0] / len(some) for some in (real, ours)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _decoded(events: NMnist, sample: Sample) -> Events:
    records = events.decode(sample, events.read_bytes(sample))
    if not isinstance(records, AtisRecords):
        raise TypeError(f"{sample.location}: a recording of this length is read in pieces, which no digit is")
    return decode_records(records)


def _counts(recordings: Sequence[Events]) -> NDArray[Any]:
    return np.array([len(events) for events in recordings])


def _summary(recordings: Sequence[Events]) -> str:
    counts = _counts(recordings)
    return f"mean {counts.mean():,.0f}, standard deviation {counts.std():,.0f}"


def _joined(recordings: Sequence[Events]) -> Events:
    x, y, t, p = (np.concatenate([getattr(events, name) for events in recordings]) for name in "xytp")
    return Events(x, y, t, p)
