"""One writer at a time; the lock of a dead process holds nobody up."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.locks import is_held, lock_path, writer_lock


def hold(folder: Path, link: Connection) -> None:
    with writer_lock(folder, "a.zarr"):
        link.send("held")
        link.poll(60)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[SpawnProcess]:
    """A process that holds the lock of a.zarr."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert mine.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_a_second_writer_is_told_and_gives_up_in_the_end(
    tmp_path: Path, holder: SpawnProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(StoreError, match=r"another process still holds \.a\.zarr\.lock after 0 s"),
        writer_lock(tmp_path, "a.zarr", timeout_s=0.2),
    ):
        pass
    assert caplog.messages == [f"{tmp_path / 'a.zarr'}: another process is writing here; waiting for it"]
    with writer_lock(tmp_path, "b.zarr", timeout_s=0):
        pass


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path, holder: SpawnProcess) -> None:
    assert holder.pid is not None
    assert is_held(tmp_path, "a.zarr")
    assert not is_held(tmp_path, "b.zarr")
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert not is_held(tmp_path, "a.zarr")
    with writer_lock(tmp_path, "a.zarr", timeout_s=5):
        pass


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with writer_lock(tmp_path, "a.zarr"):
        assert lock_path(tmp_path, "a.zarr").exists()
    assert list(tmp_path.iterdir()) == []
