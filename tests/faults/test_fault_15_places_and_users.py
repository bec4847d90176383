"""Fault 15: read-only folders, paths with blanks and other letters, relative and linked roots, another user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import run_command, snapshot, succeed
from fault_injection import Ended, Fault, ForkedCommands, Tally, Undisturbed
from tiny import assert_same, assert_same_store, make_workspace, preprocess

NOBODY = 65534
NOBODYS = {**os.environ, "HOME": "/nonexistent", "MPLCONFIGDIR": "/nonexistent"}


@pytest.fixture(scope="module")
def root(undisturbed: Undisturbed) -> Iterator[Path]:
    """A workspace of the demo that anybody may enter and read, preprocessed by this user."""
    with tempfile.TemporaryDirectory(prefix="dvs-transfer faults ü ") as name:
        Path(name).chmod(0o755)
        yield Path(shutil.copytree(undisturbed.root, Path(name) / "root"))


@pytest.fixture(scope="module")
def as_nobody(forked: ForkedCommands) -> Callable[..., Ended]:
    """`dvs-transfer` as the user nobody, with no right of root's, in a forked process."""
    command = [*start_as_nobody(), "--help"]
    if subprocess.run(command, capture_output=True, env=NOBODYS, check=False).returncode:
        pytest.skip("needs an interpreter and an installation that the user nobody may read")
    return lambda *arguments: forked.run(Fault(Path("/nowhere")), *arguments, user=NOBODY)


def start_as_nobody() -> list[str]:
    """The same as a process of its own. Skips the test where that is impossible."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root and setpriv, to become another user")
    rights = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    become = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", *rights]
    return [*become, sys.executable, "-B", "-m", "dvs_transfer"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder mounted over itself, read-only also for root. Skips the test where that is not allowed."""
    mounted = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs root, to mount a folder read-only: {mounted.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def readings(root: Path) -> list[list[str | Path]]:
    """Commands that read a preprocessed workspace."""
    store = next((root / "data" / "cache").glob("*.zarr"))
    start: list[str | Path] = ["--quiet", "--root", root]
    return [
        [*preprocess(root)],
        [*start, "cache", "ls"],
        [*start, "cache", "info", store],
        [*start, "cache", "verify", store],
    ]


def test_a_read_only_cache_is_read_and_not_written(root: Path, tally: Tally, tmp_path: Path) -> None:
    before = snapshot(root)
    with read_only(root / "data"):
        for command in readings(root):
            with tally.attempt():
                done = run_command(*command)
                assert done.code == 0, (command, done.err)
                assert snapshot(root) == before
        with tally.attempt():
            options = ("--config", root / "tiny.toml", "--run", tmp_path / "run", "--set", "train.epochs=1")
            succeed("--quiet", "--root", root, "train", *options)
            assert snapshot(root) == before
        with tally.attempt():
            refused = run_command(*preprocess(root, "--set", "frames.num_bins=4"))
            assert refused.code == 1
            assert refused.err.endswith(f"error: {root}/data/cache: Read-only file system\n")
            assert snapshot(root) == before


def test_another_user_reads_and_writes_nothing(root: Path, as_nobody: Callable[..., Ended], tally: Tally) -> None:
    """The first user's cache, for the second to read; what only the first may change is refused with the path."""
    before = snapshot(root)
    for command in readings(root):
        with tally.attempt():
            done = as_nobody(*command)
            assert done.code == 0, (command, done)
            assert snapshot(root) == before
    with tally.attempt():
        started = subprocess.run([*start_as_nobody(), *preprocess(root)], capture_output=True, env=NOBODYS, check=False)
        assert started.returncode == 0, started  # what a new process keeps for the next one must lie elsewhere
        assert snapshot(root) == before
    with tally.attempt():
        refused = as_nobody(*preprocess(root, "--set", "frames.num_bins=4"))
        assert refused.code == 1, refused
        assert refused.err.endswith(f"error: {root}/data/cache: Permission denied\n")
        assert snapshot(root) == before


def test_two_users_share_a_cache_that_both_may_write(as_nobody: Callable[..., Ended], tally: Tally) -> None:
    """The first user's umask lets others write; each adds a store, and uses what the other has made."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        before = os.umask(0)
        try:
            root = make_workspace(Path(name) / "shared")
            succeed(*preprocess(root))
        finally:
            os.umask(before)
        cache = root / "data" / "cache"
        stores = {path: snapshot(path) for path in cache.glob("*.zarr")}
        with tally.attempt():
            added = as_nobody(*preprocess(root, "--set", "frames.num_bins=4"))
            assert added.code == 0, added
            assert {path: snapshot(path) for path in stores} == stores
            theirs = set(cache.glob("*.zarr")) - set(stores)
            assert {(path / "zarr.json").stat().st_uid for path in theirs} == {NOBODY}
            after = snapshot(root)
            succeed(*preprocess(root, "--set", "frames.num_bins=4"))
            assert snapshot(root) == after


def test_other_places_give_the_same(tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain place; blanks, quotes, a line break and other letters; a relative root; a link; a link as the cache."""
    plain = make_workspace(tmp_path / "plain")
    succeed(*preprocess(plain))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "elsewhere").mkdir()
    for root in (
        tmp_path / "two  blanks, 'quotes' \"and\" % * [a] {b} #",
        tmp_path / "größe 画像 é",
        tmp_path / "line\nbreak",
        Path("relative"),
        Path("link/root"),
        tmp_path / "linked cache",
    ):
        make_workspace(root)
        if root.name == "linked cache":
            (root / "data" / "cache").symlink_to(tmp_path / "elsewhere")
        with tally.attempt():
            succeed(*preprocess(root))
            if root.name != "linked cache":
                assert_same(root.resolve(), plain)
            for store in (plain / "data" / "cache").glob("*.zarr"):
                assert_same_store(root / "data" / "cache" / store.name, store)
