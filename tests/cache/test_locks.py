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
from dvs_transfer.cache.locks import is_held, lock_path, once, writer_lock


def hold(folder: Path, link: Connection) -> None:
    with writer_lock(folder, "a.zarr"):
        link.send("held")
        link.poll(60)


@pytest.fixture
def ends() -> tuple[Connection, Connection]:
    return multiprocessing.get_context("spawn").Pipe()


@pytest.fixture
def holder(tmp_path: Path, ends: tuple[Connection, Connection]) -> Iterator[SpawnProcess]:
    """A process that holds the lock of a.zarr until it is sent something."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = ends
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
    with pytest.raises(StoreError, match="another process still holds"), writer_lock(tmp_path, "a.zarr", timeout_s=0):
        pass
    assert len(caplog.messages) == 1, "nothing is waited for"
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


def test_once_makes_what_is_not_there_under_the_lock_and_then_finds_it(tmp_path: Path) -> None:
    file, tidied = tmp_path / "a", []

    def find() -> str | None:
        return file.read_text() if file.exists() else None

    def make() -> str:
        assert is_held(tmp_path, "a")
        file.write_text("made")
        return "made"

    results = [once(tmp_path, "a", find, make, lambda: tidied.append(1)) for _ in range(2)]
    assert results == [("made", True), ("made", False)]
    assert (tidied, list(tmp_path.iterdir())) == ([], [file])
    lock_path(tmp_path, "a").touch()  # as one leaves it who was killed at the very end
    assert once(tmp_path, "a", find, make, lambda: tidied.append(1)) == ("made", False)
    assert (tidied, list(tmp_path.iterdir())) == ([1], [file])


def test_once_waits_for_who_is_making_it(
    tmp_path: Path, holder: SpawnProcess, ends: tuple[Connection, Connection]
) -> None:
    """What the other one made meanwhile is found, not made again."""
    looks = []

    def find() -> str | None:
        looks.append(is_held(tmp_path, "a.zarr"))
        if len(looks) == 1:
            ends[0].send("go on")
            return None
        return "by the other"

    assert once(tmp_path, "a.zarr", find, lambda: pytest.fail("it was made already")) == ("by the other", False)
    assert looks == [True, True]
