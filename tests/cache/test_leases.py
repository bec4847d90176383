"""The lock at an address: one writer at a time, as long as it gives signs."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest
from object_server import MemoryFaults

from dvs_transfer.cache import leases
from dvs_transfer.cache.errors import AddressError, StoreError
from dvs_transfer.cache.leases import FORGOTTEN_S, Lease
from dvs_transfer.cache.locks import lock_path, once, writer_lock
from dvs_transfer.cache.places import create_object, exists, place, read_object, write_object


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    folder = place(f"memory://{tmp_path.name}")
    return Lease(lock_path(folder, "a.zarr"), folder / "a.zarr", renew_s=0.02, patience_s=0.3)


def write_holder(lease: Lease, **about: object) -> None:
    holder = {"token": "t", "host": "elsewhere", "pid": 1, "renewed": time.time()} | about
    assert create_object(lease.address, json.dumps(holder).encode())


def test_a_holder_that_renews_is_waited_for_and_named(lease: Lease, caplog: pytest.LogCaptureFixture) -> None:
    with lease.hold(0):
        first = read_object(lease.address, 1000)
        assert not lease.is_free()
        with (
            pytest.raises(StoreError, match=r"process \d+ of .+ still holds \.a\.zarr\.lock after 1 s"),
            lease.hold(0.8),
        ):
            pass
        assert read_object(lease.address, 1000) != first
        with pytest.raises(StoreError, match="still holds"), lease.hold(0):
            pass  # told by the error alone: nothing is waited for
        with Lease(lease.address.with_name("b"), lease.what).hold(0):
            pass
    assert len(caplog.messages) == 1
    assert "another process is writing here" in caplog.messages[0]
    assert not exists(lease.address)


def test_one_that_gives_no_sign_is_succeeded(lease: Lease, caplog: pytest.LogCaptureFixture) -> None:
    write_holder(lease)
    began = time.monotonic()
    with lease.hold(10):
        assert time.monotonic() - began > 0.3
        assert json.loads(read_object(lease.address, 1000))["token"] != "t"
    assert "process 1 of elsewhere gives no sign any more" in caplog.messages[1]
    assert not exists(lease.address)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"pid": "x"}'])
def test_a_lock_that_says_nothing_is_succeeded(content: bytes, lease: Lease) -> None:
    write_object(lease.address, content)
    with lease.hold(10):
        pass
    assert not exists(lease.address)


def test_a_dead_process_of_this_machine_is_succeeded_at_once(lease: Lease) -> None:
    import socket

    gone = next(pid for pid in range(2**21, 2**22) if not psutil.pid_exists(pid))
    write_holder(lease, host=socket.gethostname(), pid=gone)
    assert lease.is_free()
    with lease.hold(0):
        pass


def test_one_that_was_succeeded_leaves_the_lock_to_its_successor(
    lease: Lease, caplog: pytest.LogCaptureFixture
) -> None:
    with lease.hold(0):
        write_object(lease.address, b'{"token": "another"}')
        time.sleep(0.1)
    assert "another process took this one for dead" in caplog.text
    assert json.loads(read_object(lease.address, 1000)) == {"token": "another"}


def test_prune_leaves_alone_what_was_renewed_within_the_hour(lease: Lease) -> None:
    assert lease.is_free()
    write_holder(lease)
    assert not lease.is_free()
    write_object(lease.address, json.dumps({"host": "elsewhere", "renewed": time.time() - FORGOTTEN_S - 1}).encode())
    assert lease.is_free()


def test_a_file_system_without_conditional_put_has_no_locks_and_says_so(
    lease: Lease, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def put(self: object, path: str, value: bytes) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", put)
    with lease.hold(0), lease.hold(0):
        pass
    assert "a.zarr: no locks there, as this file system cannot put conditionally" in caplog.messages[0]


def test_an_error_of_the_server_passes_on(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = MemoryFaults(monkeypatch)
    faults.fail(1, PermissionError(13, "expired"), lasts=True)
    with pytest.raises(AddressError, match="expired"), lease.hold(0):
        pass


def test_work_is_done_once(tmp_path: Path) -> None:
    folder, made = place(f"memory://{tmp_path.name}"), list[int]()
    done = folder / "done"

    def make() -> int:
        time.sleep(0.1)
        made.append(1)
        write_object(done, b"1")
        return 1

    def work() -> None:
        results.append(once(folder, "x", lambda: 1 if exists(done) else None, make))

    results: list[tuple[int, bool]] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sorted(results), made) == ([(1, False)] * 3 + [(1, True)], [1])
    with writer_lock(folder, "x", timeout_s=0):
        pass


def test_a_lock_whose_making_was_tried_twice_is_one_s_own(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first try was lost; that to the second one is that there is one."""

    def tried_twice(address: Path, data: bytes) -> bool:
        create_object(address, data)
        return create_object(address, data)

    monkeypatch.setattr(leases, "create_object", tried_twice)
    with lease.hold(0):
        assert not lease.is_free()
    assert not exists(lease.address)
