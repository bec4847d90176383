"""Fault 2: the n-th write fails, or the disk is full; the message says where, and the next run finishes."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from fault_injection import WRITING, Effort, Fault, ForkedCommands, Tally, small_disk
from tiny import assert_same, assert_stores_are_whole, files_below, make_workspace, preprocess

SAYS = {errno.ENOSPC: "No space left on device; free some space", errno.EIO: "Input/output error"}


def assert_tells(output: str, root: Path, error: int) -> None:
    """One line, naming a path of the workspace and what is needed."""
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, output
    assert "Traceback" not in output
    assert str(root) in lines[0], output
    assert SAYS[error] in lines[0], output


@pytest.mark.slow
@pytest.mark.timeout(14400)
@pytest.mark.parametrize(("error", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["ENOSPC", "EIO"])
def test_the_nth_write_fails(
    error: int, lasting: bool, effort: Effort, tally: Tally, forked: ForkedCommands, tmp_path: Path
) -> None:
    """Every n-th open, write, flush, rename or mkdir with `--long`; a full disk stays full, an EIO comes once."""
    alone = make_workspace(tmp_path / "alone")
    counted = forked.run(Fault(alone, calls=WRITING), *preprocess(alone, "--scheduler", "serial"))
    assert counted.code == 0
    for nth in effort(range(3, counted.count, counted.count // 7), range(1, counted.count + 1)):
        root = make_workspace(tmp_path / f"failed {nth}")
        with tally.attempt():
            failed = forked.run(Fault(root, nth, error, WRITING, lasting), *preprocess(root, "--workers", "2"))
            assert failed.code == 1, (nth, failed)
            assert_tells(failed.output, root, error)
            assert_stores_are_whole(root)
            assert not [name for name in files_below(root) if name.endswith(".tmp")], nth
            again = forked.run(Fault(root), *preprocess(root, "--workers", "2"))
            assert again.code == 0, (nth, again)
            assert_same(root, alone)


@pytest.mark.slow
def test_a_small_disk_that_is_full(effort: Effort, tally: Tally, forked: ForkedCommands, tmp_path: Path) -> None:
    """A real one: a tmpfs with room for the raw data and a part of the cache, then with more, until all has room."""
    alone = make_workspace(tmp_path / "alone")
    assert forked.run(Fault(alone), *preprocess(alone, "--scheduler", "serial")).code == 0
    with small_disk(tmp_path / "small", 1_000_000) as disk:
        root = make_workspace(disk / "root")
        ballast = disk / "ballast"
        free = effort((30_000,), tuple(range(0, 240_000, 16_000)))
        for num_bytes in free:
            with tally.attempt():
                ballast.write_bytes(b"")
                fill(ballast, num_bytes)
                failed = forked.run(Fault(root), *preprocess(root, "--workers", "2"))
                assert_stores_are_whole(root)
                if failed.code == 0 and num_bytes > 30_000:  # earlier ones have done most of the work
                    break
                assert failed.code == 1, failed
                assert_tells(failed.err, root, errno.ENOSPC)
        ballast.unlink()
        assert forked.run(Fault(root), *preprocess(root, "--workers", "2")).code == 0
        assert_same(root, alone)


def fill(ballast: Path, free: int) -> None:
    """Let a file grow until that many bytes are free on its disk."""
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(ballast.parent).free - free)))
