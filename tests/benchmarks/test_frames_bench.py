"""The benchmark itself: that it measures, checks what it measures, and puts the threads back; no speeds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dvs_transfer.benchmarks import frames as bench
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import AtisRecords


def test_a_short_run_finds_every_figure(tmp_path: Path) -> None:
    num_threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    report = bench.run(folder=tmp_path, num_recordings=2, num_turns=1)
    assert report["nmnist_ratio"] is None
    assert all(value > 0 for value in report.values() if isinstance(value, int | float))
    assert {"cpu", "cores", "cores_used", "python", "tonic"} <= set(report["machine"])
    assert torch.get_num_threads() == num_threads
    assert cores is None or os.sched_getaffinity(0) == cores
    assert not list(tmp_path.iterdir())


def test_synthetic_recordings_are_like_real_ones_and_repeatable() -> None:
    data = bench.synthetic_records(20_000, seed=4)
    np.testing.assert_array_equal(data, bench.synthetic_records(20_000, seed=4))
    assert not np.array_equal(data, bench.synthetic_records(20_000, seed=5))
    frames = make_frames(AtisRecords(data, bench.SENSOR_SIZE), FramesConfig(mode="exact", resize="none"))
    assert frames.num_events == 20_000
    assert 0.9 * bench.DURATION_US < frames.duration_us <= bench.DURATION_US
    assert (frames.data.sum(axis=(2, 3), dtype=float) > 100).all()  # both polarities in every bin


def test_a_difference_from_tonic_stops_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.bin"
    bench.synthetic_records(2_000, seed=1).tofile(file)
    expected = bench._tonic_frames(file)
    bench._check_against_tonic(file)
    monkeypatch.setattr(bench, "_tonic_frames", lambda _: expected + 0.01)
    with pytest.raises(AssertionError, match="differ from tonic"):
        bench._check_against_tonic(file)
