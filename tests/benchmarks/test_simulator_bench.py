"""The comparison of the simulator with real recordings: what it makes of recordings whose origin is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import refuse

from dvs_transfer.benchmarks import simulator as bench
from dvs_transfer.benchmarks.frames import natural_photo
from dvs_transfer.stages.simulation import SimulationConfig, simulate_image


def test_a_recording_of_the_photo_agrees_and_one_of_another_does_not() -> None:
    photo, other = (bench_photo(seed) for seed in (0, 1))
    real = simulate_image(photo, SimulationConfig(seed=7), "real")
    same, different = (correlations(bench.compare_pair(real, picture)["simulated"]) for picture in (photo, other))
    assert same[0] > 0.8 > same[1]
    assert different[0] < 0.6


def test_each_row_of_the_pair_is_another_simulation() -> None:
    rows = bench.compare_pair(simulate_image(bench_photo(0), SimulationConfig(seed=7), "real"), bench_photo(0))
    events = {name: rows[name].split(" events")[0] for name in bench.ABLATIONS}
    assert len({*events.values(), rows["simulated"].split(" events")[0]}) == len(bench.ABLATIONS) + 1


def test_held_out_digits(shared_data: Path) -> None:
    rows = bench.compare_digits(shared_data / "NMNIST", shared_data / "MNIST")
    assert rows["held-out digits"] == "300"
    assert float(rows["mean frames, correlation"]) > 0.9 > 0.7 > float(rows["the same, not inverted"])


@pytest.mark.parametrize("options", [[], ["--photo", "a.jpg"], ["--nmnist", "a"]])
def test_half_of_what_is_compared_is_refused(options: list[str]) -> None:
    refuse("bench", "simulator", *options, code=2, says=["--recording and --photo"])


def bench_photo(seed: int) -> np.ndarray:
    return np.repeat(np.repeat(natural_photo(seed)[:167, :145, None], 2, axis=0), 2, axis=1).repeat(3, axis=2)


def correlations(row: str) -> tuple[float, float]:
    plain, swapped = row.split(", ")[1].split(" in ")[0].split()[:2]
    return float(plain), float(swapped.strip("()"))
