"""ST-MNIST's MAT files: a matrix of the taxels' spikes and the times, as tonic reads it (STMNIST)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources.base import EventStream
from dvs_transfer.stages.sources.formats import columns, mat5
from dvs_transfer.stages.sources.formats.columns import join
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import FileBytes, InMemory

Row = tuple[int, int, float, int]


def spikes_of(matrix: Any) -> list[Row]:
    """x, y, t in us and polarity, one by one: addresses count along x; of one moment in the order of addresses."""
    found = []
    for moment in matrix.T.tolist():
        for address, spike in enumerate(moment[:100]):
            if spike:
                found.append((address % 10, address // 10, moment[100] * 1e6, int(spike > 0)))
    return found


def as_mat(matrix: Any, **others: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"spiketrain": matrix, **others}, do_compression=True)
    return buffer.getvalue()


def made(num_moments: int = 60, seed: int = 0) -> Any:
    """Several spikes of one moment are among them, and a moment without one."""
    rng = np.random.default_rng(seed)
    matrix = rng.choice([-1.0, 0, 0, 0, 0, 0, 0, 0, 1], (101, num_moments))
    matrix[:100, 3] = 0
    matrix[100] = np.sort(rng.random(num_moments))
    return matrix


def assert_read(found: Any, matrix: Any) -> None:
    expected = spikes_of(matrix)
    events = judged(found)
    rows = list(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist(), strict=True))
    assert [(x, y, p) for x, y, _, p in rows] == [(x, y, p) for x, y, _, p in expected]
    times = [t for _, _, t, _ in rows]
    assert times == [round(t) for _, _, t, _ in expected]  # the nearest microsecond
    assert all(t - int(exact) in (0, 1) for t, (_, _, exact, _) in zip(times, expected, strict=True))  # tonic cuts
    assert found.sensor_size == (10, 10)
    assert found.guessed_unit is None


def test_the_real_recording(shared_data: Path) -> None:
    path = shared_data / "recordings" / "stmnist_sample.mat"
    matrix = scipy.io.loadmat(path)["spiketrain"]
    found = open_recording(FileBytes(path), ".mat")
    assert len(found) == np.count_nonzero(matrix[:100]) == 2346  # type: ignore[arg-type]
    assert_read(found, matrix)


def test_a_made_one() -> None:
    assert_read(open_recording(InMemory(as_mat(made()), "1.mat"), ".mat", "ms"), made())


def test_a_long_one_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "HELD_EVENTS", 300)
    monkeypatch.setattr(mat5, "PIECE_EVENTS", 1011)
    found = open_recording(InMemory(as_mat(made()), "1.mat"), ".mat")
    assert isinstance(found, EventStream)
    assert len(list(found.pieces())) == 6
    assert spikes_of(made())[-1][:2] == (join(found.pieces()).x[-1], join(found.pieces()).y[-1])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((100, 9)), "spiketrain has the shape 100 x 9, expected 101 x n"),
        (np.zeros((101, 9)), "no event in it"),
        (np.ones((101, 9)) * 2, "event 0 has p=2.0"),
        (np.array([["a", "b"]], object), "spiketrain is no array of real numbers"),
        (np.where(np.arange(101)[:, None] == 100, [3.0, 2.0], 1.0), "backwards at event 100: 2000000 us after 3000000"),
    ],
)
def test_what_is_none(matrix: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        judged(open_recording(InMemory(as_mat(matrix), "1.mat"), ".mat"))


def test_columns_come_first() -> None:
    named = {"x": [1], "y": [2], "t": [3], "p": [1]}
    found = judged(open_recording(InMemory(as_mat(made(), **named), "1.mat"), ".mat"))
    assert len(found) == 1
