"""The benchmark of the readers: that it measures every format and checks what it measures; no speeds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dvs_transfer.benchmarks import readers as bench
from dvs_transfer.cache.errors import SourceError


def test_a_short_run_measures_every_format(tmp_path: Path) -> None:
    report = bench.run(folder=tmp_path, num_events=3000, num_turns=1)
    expected = {contestant.file for contestant in bench.CONTESTANTS if find_spec(contestant.needs)}
    assert set(report["ratio"]) == expected
    assert {"a.dat", "a.raw", "b.raw", "a.es", "a.aedat", "a.bin"} <= set(report["frames_ratio"]) < expected
    assert all(value > 0 for value in [*report["mev_per_s"].values(), *report["ratio"].values()])
    assert not list(tmp_path.iterdir())


def test_what_is_measured_is_read_and_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=[0, 5000], y=[0, 0], t=[1, 2], p=[0, 1])
    with pytest.raises(SourceError, match="event 1 has x=5000"):
        bench._ours(tmp_path / "a.npz")


def test_a_difference_stops_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bench.Contestant("a.npz", "numpy", bench._write_npz, lambda path: np.arange(3000))
    monkeypatch.setattr(bench, "CONTESTANTS", (other,))
    with pytest.raises(AssertionError, match=r"a\.npz: this project and numpy read other events"):
        bench.run(folder=tmp_path, num_events=3000, num_turns=1)
