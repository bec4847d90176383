"""Decoding in another process: right events, and whatever happens to the decoder is the file's fault alone."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any

import faery
import h5py
import numpy as np
import pytest

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages import process_main
from dvs_transfer.stages.processes import Process, ProcessPool, RefusedError, unnamed_memory
from dvs_transfer.stages.sources.formats import isolated
from dvs_transfer.stages.sources.formats.columns import join
from dvs_transfer.stages.sources.formats.isolated import DECODERS, LocalFile, read_pieces
from dvs_transfer.stages.sources.random_access import InMemory

KINDS = {"x": "u2", "y": "u2", "t": "i8", "p": "u1"}


def some_events(num_events: int = 3000) -> Any:
    rng = np.random.default_rng(0)
    events = np.zeros(num_events, faery.EVENTS_DTYPE)
    events["t"] = np.sort(rng.integers(0, 300_000, num_events))
    events["x"], events["y"] = rng.integers(0, 320, num_events), rng.integers(0, 240, num_events)
    events["on"] = rng.integers(0, 2, num_events)
    return events


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.aedat4"
    faery.events_stream_from_array(some_events(), (320, 240)).to_file(path)
    return path


@pytest.fixture(autouse=True)
def no_child_from_before() -> None:
    DECODERS.end()


def test_pieces_are_the_events_in_order(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "PIECE_EVENTS", 1000)
    faery.events_stream_from_array(some_events(30_000), (320, 240)).to_file(recording)
    size, pieces = read_pieces("aedat4", recording)
    held = list(pieces)
    assert size == (320, 240)
    assert len(held) > 2
    events = join(held)
    for column, name in zip("xytp", ("x", "y", "t", "on"), strict=True):
        np.testing.assert_array_equal(getattr(events, column), some_events(30_000)[name])


def test_one_child_serves_one_file_after_another(recording: Path) -> None:
    for _ in range(3):
        join(read_pieces("aedat4", recording)[1])
        assert len(DECODERS._idle) == 1


def test_a_reader_that_stops_early_leaves_no_child_behind(recording: Path) -> None:
    size, pieces = read_pieces("aedat4", recording)
    del pieces
    assert size == (320, 240)
    assert len(DECODERS._idle) == 0
    assert len(join(read_pieces("aedat4", recording)[1])) == 3000


def test_threads_have_children_of_their_own(recording: Path) -> None:
    counts: list[int] = []
    barrier = threading.Barrier(3)

    def read() -> None:
        _, pieces = read_pieces("aedat4", recording)
        barrier.wait(30)  # all three are being read now
        counts.append(len(join(pieces)))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3000] * 3
    assert len(DECODERS._idle) == 3


def test_a_child_that_dies_costs_one_file(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = ProcessPool._take

    def take_and_kill(pool: ProcessPool) -> Any:
        child = take(pool)
        os.kill(child._process.pid, signal.SIGABRT)
        child._process.wait()
        return child

    monkeypatch.setattr(ProcessPool, "_take", take_and_kill)
    with pytest.raises(SourceError, match=r"a\.aedat4: its decoder was ended by signal 6"):
        read_pieces("aedat4", recording)
    monkeypatch.undo()
    assert len(join(read_pieces("aedat4", recording)[1])) == 3000


def test_a_child_killed_while_idle_is_replaced(recording: Path) -> None:
    join(read_pieces("aedat4", recording)[1])
    process = DECODERS._idle[0]._process
    process.kill()
    process.wait()
    assert len(join(read_pieces("aedat4", recording)[1])) == 3000


def test_a_silent_child_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_main, "SILENCE_S", 0.5)
    os.mkfifo(tmp_path / "a.aedat4")  # opening it waits for a writer that never comes
    with pytest.raises(SourceError, match=r"a\.aedat4: its decoder was silent for 0\.5 s"):
        read_pieces("aedat4", tmp_path / "a.aedat4")
    assert len(DECODERS._idle) == 0


def test_what_the_decoder_says_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + bytes(100))
    with pytest.raises(SourceError, match=r"a\.aedat4: cannot be decoded"):
        join(read_pieces("aedat4", tmp_path / "a.aedat4")[1])


def test_a_child_that_refuses_is_asked_again(recording: Path, tmp_path: Path) -> None:
    """Also after more refusals than it may have files open, and it reads as one that refused nothing."""
    faery.events_stream_from_array(some_events(200_000), (320, 240)).to_file(recording)
    (tmp_path / "cut.aedat4").write_bytes(recording.read_bytes()[:-5000])  # while its events come
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name in "xyt":
            file.create_dataset(name, data=np.arange(5000), chunks=(100,), compression="gzip")
        damaged = file.create_dataset("p", data=np.arange(5000), chunks=(100,), compression="gzip")
        damaged.id.write_direct_chunk((4900,), b"no deflate")
    join(read_pieces("aedat4", recording)[1])
    (child,) = DECODERS._idle
    for _ in range(process_main.OPEN_FILES):
        for name in ("cut.aedat4", "a.h5", "b.h5"):
            with pytest.raises(SourceError, match="cannot be decoded"):
                join(read_pieces("hdf5" if name.endswith("h5") else "aedat4", tmp_path / name)[1])
    np.testing.assert_array_equal(join(read_pieces("aedat4", recording)[1]).t, some_events(200_000)["t"])
    assert DECODERS._idle == [child]


def test_columns_of_any_length_go_through_the_blocks(tmp_path: Path) -> None:
    """Around one block, and more than all; of a table, whose values lie apart; empty ones."""
    block = process_main.BLOCK_BYTES
    rng = np.random.default_rng(0)
    for num_events in (0, 1, block - 1, block, block + 1, 5 * block // 2):
        columns = {name: rng.integers(0, 256, num_events).astype(kind) for name, kind in KINDS.items()}
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, values in columns.items():
                file.create_dataset(f"events/{name}", data=values, chunks=True if num_events % 2 else None)
        with h5py.File(tmp_path / "b.h5", "w") as file:
            table = file.create_dataset("events", (num_events,), [(n, v.dtype) for n, v in columns.items()])
            for name, values in columns.items():
                table[name] = values
        for name in ("a.h5", "b.h5"):
            found = join(read_pieces("hdf5", tmp_path / name)[1])
            for column in "xytp":
                np.testing.assert_array_equal(getattr(found, column), columns[column])


def test_what_a_child_could_still_write_into_is_not_handed_over(tmp_path: Path) -> None:
    """The events do not change when the blocks that they came through hold the next ones."""
    for name, value in (("a.h5", 1), ("b.h5", 2)):
        with h5py.File(tmp_path / name, "w") as file:
            for column in "xytp":
                file[column] = np.full(1000, value)
    first = join(read_pieces("hdf5", tmp_path / "a.h5")[1])
    for _ in range(process_main.NUM_BLOCKS):
        join(read_pieces("hdf5", tmp_path / "b.h5")[1])
    assert all((getattr(first, column) == 1).all() for column in "xytp")


@pytest.mark.parametrize(
    "announced", [[["x", "<u2", [-3, -5]]], [["x", "|O", [5]]], [["x", "|u1", [1 << 27]], ["y", "|u1", [1 << 28]]]]
)
def test_what_a_child_announces_is_not_believed(announced: list[Any], tmp_path: Path) -> None:
    """Of a child that was taken over: it says what it likes."""
    script = tmp_path / "child.py"
    script.write_text(
        "import numpy as np\nLIBRARIES = {}\n"
        f"class Liar(dict):\n    def items(self):\n        return {[[n, [d, s, []]] for n, d, s in announced]!r}\n"
        "class Kind(str):\n    str = property(lambda self: self + '')\n    itemsize = 1\n"
        "READERS = {'liar': lambda path: ({}, [{n: (Kind(d), s, ()) for n, (d, s, _) in Liar().items()}])}\n"
    )
    process = Process(script)
    answer = process.read({"reader": "liar", "path": str(script)})
    assert next(answer) == {}
    with pytest.raises(RefusedError, match=r"an answer of \["):
        next(answer)
    assert not process.is_alive


@pytest.mark.parametrize("places", [[(2, 8)], [(0, 4)], [(1 << 40, 8)], [(-1, 8)], []])
def test_places_that_are_none_in_the_file_are_refused(places: list[tuple[int, int]], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123456789")
    script = tmp_path / "child.py"
    script.write_text(
        "import numpy as np\nLIBRARIES = {}\n"
        "READERS = {'a': lambda path, places: ({}, [{'x': (np.dtype('u2'), (4,), places)}])}\n"
    )
    process = Process(script)
    whole = {"reader": "a", "path": str(tmp_path / "a")}
    _, columns = process.read({**whole, "places": [(5, 4), (0, 4)]})
    assert columns["x"].tobytes() == b"67891234"
    with pytest.raises(RefusedError):
        list(process.read({**whole, "places": places}))
    assert not process.is_alive


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which can seal memory")
def test_memory_that_both_have_cannot_be_taken_away() -> None:
    """Who reads what is not there any more is ended by SIGBUS."""
    descriptor = unnamed_memory(1 << 16)
    for num_bytes in (0, 1 << 17):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, num_bytes)
    os.close(descriptor)


def test_a_child_runs_out_of_memory_alone(tmp_path: Path) -> None:
    """A dataset of chunks that are within the limit, and so many of them that a piece is not. It is not asked again."""
    kind = np.dtype([*((name, "i8") for name in "xyt"), ("p", "i8", 350)])
    rows = 1 << 14
    zeros = zlib.compress(bytes(rows * kind.itemsize))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        events = file.create_dataset("events", (1 << 20,), kind, chunks=(rows,), compression="gzip")
        for start in range(0, 1 << 20, rows):
            events.id.write_direct_chunk((start,), zeros)
    with pytest.raises(SourceError, match=r"a\.h5: cannot be decoded \(.*MemoryError"):
        join(read_pieces("hdf5", tmp_path / "a.h5")[1])
    assert not any(child.is_alive for child in DECODERS._idle)


def test_a_copy_for_the_other_process_leaves_no_file_behind(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while it is there: whoever is killed then leaves nothing."""
    folder = recording.parent / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    copy = LocalFile(InMemory(recording.read_bytes(), "a.zip!a.aedat4"))
    if sys.platform == "linux":
        assert list(folder.iterdir()) == []
    for _ in range(2):
        assert len(join(copy.read("aedat4", "auto")[1]))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    del copy
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors - 1
    folder.rmdir()
    with pytest.raises(FileNotFoundError, match="temporary"):
        LocalFile(InMemory(b"x", "here"))
