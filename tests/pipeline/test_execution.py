"""Tasks on dask: results in order, the first error raised, progress told, a cluster used when there is one."""

from __future__ import annotations

import importlib
import io
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dvs_transfer.cache.errors import ConfigError, SourceError
from dvs_transfer.pipeline.execution import DaskRunner, WorkersLostError
from dvs_transfer.pipeline.progress import Reporter


def square(number: int) -> int:
    if number == 13:
        raise SourceError("thirteen.bin: unlucky")
    return number**2


@pytest.mark.parametrize("scheduler", ["serial", "threads", "processes"])
def test_results_come_in_order(scheduler: str) -> None:
    runner = DaskRunner(Reporter(0), scheduler, 2)
    assert list(runner(square, range(10), label="square")) == [n**2 for n in range(10)]
    assert list(runner(square, [], label="nothing")) == []


@pytest.mark.parametrize("scheduler", ["serial", "threads", "processes"])
def test_the_first_error_is_raised_as_it_is(scheduler: str) -> None:
    with pytest.raises(SourceError, match=r"thirteen\.bin: unlucky"):
        list(DaskRunner(Reporter(0), scheduler, 2)(square, range(10, 20), label="square"))


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_process_that_dies_ends_with_a_message() -> None:
    with pytest.raises(
        WorkersLostError, match=r"worker process was ended by signal 9 .Killed., maybe because memory ran out"
    ):
        list(DaskRunner(Reporter(0), "processes", 2)(die, range(2), label="die"))


def divide(number: int) -> float:
    return 1 / number


def test_an_error_tells_where_in_the_worker_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(DaskRunner(Reporter(0), "processes", 2)(divide, range(2), label="divide"))
    assert "return 1 / number" in caught.value.__notes__[0]


def test_workers_find_what_this_process_can_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plug-in's module beside a configuration file."""
    (tmp_path / "beside_the_file.py").write_text("def double(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    double = importlib.import_module("beside_the_file").double
    assert list(DaskRunner(Reporter(0), "processes", 2)(double, range(3), label="double")) == [0, 2, 4]


class TwoWordsError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class Vanishing:
    """As a source whose folder goes: it cannot be packed, or cannot be opened again in the worker."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __reduce__(self) -> Any:
        if self.where == "here":
            raise FileNotFoundError("the folder is gone")
        return open_again, (self.where,)


def open_again(where: str) -> Any:
    if where == "there":
        raise SourceError("the archive is damaged")
    raise EOFError("no more")


def raise_two_words(number: int) -> Any:
    raise TwoWordsError("no", "luck")


def give_lock(number: int) -> Any:
    return threading.Lock()


@pytest.mark.parametrize(
    ("function", "item", "kind", "says"),
    [
        (square, Vanishing("here"), FileNotFoundError, "the folder is gone"),
        (square, Vanishing("there"), SourceError, "the archive is damaged"),
        (square, Vanishing("in the end"), EOFError, "no more"),
        (raise_two_words, 0, RuntimeError, "TwoWordsError: no luck"),
        (give_lock, 0, TypeError, "cannot pickle"),
    ],
)
@pytest.mark.timeout(60)
def test_what_cannot_be_handed_over_is_told(function: Any, item: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        list(DaskRunner(Reporter(0), "processes", 2)(function, [item, item], label="hand over"))


def interrupt_the_others(number: int) -> int:
    """As who stops all processes by name. A terminal sends Ctrl-C to those of the session, whose worker this is not."""
    assert os.getsid(0) != os.getsid(os.getppid())
    if number == 0:
        os.kill(os.getpid(), signal.SIGINT)
    return number


def test_an_interrupt_leaves_workers_to_the_one_that_started_them() -> None:
    runner = DaskRunner(Reporter(0), "processes", 2)
    assert list(runner(interrupt_the_others, range(4), label="interrupt")) == [0, 1, 2, 3]


def named_semaphores(number: int) -> list[str]:
    parent = os.getppid()
    return [line for pid in (parent, os.getpid()) for line in maps_of(pid) if "/dev/shm/sem." in line]


def maps_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/maps").read_text().splitlines()


def test_workers_share_nothing_that_a_kill_would_leave_behind() -> None:
    runner = DaskRunner(Reporter(0), "processes", 2)
    assert list(runner(named_semaphores, range(2), label="look")) == [[], []]
    lock = multiprocessing.get_context("spawn").Lock()  # that the test sees one
    assert named_semaphores(0)
    del lock


def test_after_an_error_no_task_is_still_under_way() -> None:
    under_way: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            time.sleep(0.1)
            raise SourceError("zero.bin: broken")
        under_way.append(number)
        time.sleep(0.4)
        under_way.remove(number)

    with pytest.raises(SourceError):
        list(DaskRunner(Reporter(0), "threads", 2)(work, range(2), label="work"))
    assert under_way == []


def test_threads_are_as_many_as_asked_for() -> None:
    together = threading.Barrier(3, timeout=20)
    list(DaskRunner(Reporter(0), "threads", 3)(lambda _: together.wait(), range(3), label="wait"))


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    runner = DaskRunner(Reporter(1, Console(file=out)), "threads", 1)
    list(runner(square, range(4), label="square numbers"))
    assert out.getvalue().startswith("square numbers: 4 of 4, ")
    list(DaskRunner(Reporter(0, Console(file=out)), "serial")(square, range(4), label="quiet"))
    assert "quiet" not in out.getvalue()


def test_verbose_tells_what_runs_where() -> None:
    out = io.StringIO()
    list(DaskRunner(Reporter(2, Console(file=out)), "threads", 2)(square, range(4), label="square"))
    assert out.getvalue().startswith("square: 4 tasks, 2 threads\n")
    assert "tasks, 2 threads" not in _told_normally()


def _told_normally() -> str:
    out = io.StringIO()
    list(DaskRunner(Reporter(1, Console(file=out)), "threads", 2)(square, range(4), label="square"))
    return out.getvalue()


def test_bars_on_a_terminal() -> None:
    out = io.StringIO()
    list(DaskRunner(Reporter(1, Console(file=out, force_terminal=True)), "serial")(square, range(4), label="square"))
    assert "4/4" in out.getvalue()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="scheduler 'fork': expected threads, processes, serial or an address"):
        DaskRunner(Reporter(0), "fork")
    with pytest.raises(ConfigError, match="workers -1"):
        DaskRunner(Reporter(0), "threads", -1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets
def test_a_cluster_that_exists() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        runner = DaskRunner(Reporter(0), cluster.scheduler_address)
        assert list(runner(square, range(6), label="square")) == [0, 1, 4, 9, 16, 25]
        with pytest.raises(SourceError, match="unlucky"):
            list(runner(square, range(10, 20), label="square"))
