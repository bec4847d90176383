"""Fault 12: `train` is killed while it writes a checkpoint; the newest checkpoint is damaged."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from fault_injection import EVERYTHING, Effort, Fault, ForkedCommands, Tally, flip, truncate
from tiny import assert_same_run, make_trainable, train_command


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trainable(tmp_path_factory.mktemp("trainable") / "root")


@pytest.fixture(scope="module")
def undisturbed(root: Path, forked: ForkedCommands) -> Path:
    ended = forked.run(Fault(root), *train_command(root, root / "undisturbed"))
    assert ended.code == 0, ended.output
    return root / "undisturbed"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("error", [0, errno.ENOSPC], ids=["killed", "disk full"])
def test_stopped_before_any_file_operation(
    error: int, root: Path, undisturbed: Path, effort: Effort, tally: Tally, forked: ForkedCommands
) -> None:
    """Before the n-th one in the run folder; then the same command goes on to the same bytes. With `--long` every n."""
    calls = tuple(call for call in EVERYTHING if error == 0 or call not in ("remove", "rename"))
    counting = root / f"counted {error}"
    counted = forked.run(Fault(counting, calls=calls), *train_command(root, counting)).count
    assert counted > 50
    for nth in effort(range(counted // 3, counted, counted // 3), range(1, counted + 1)):
        run = root / "stopped"
        with tally.attempt():
            ended = forked.run(Fault(run, nth, error, calls=calls), *train_command(root, run))
            assert ended.code == (1 if error else -9), ended.output
            assert not error or str(run) in ended.output
            again = forked.run(Fault(run), *train_command(root, run))
            assert again.code == 0, again.output
            assert_same_run(run, undisturbed)
        shutil.rmtree(run)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suffix", [".safetensors", ".rest", ".json"])
def test_the_newest_checkpoint_is_damaged(
    suffix: str, root: Path, undisturbed: Path, effort: Effort, tally: Tally, forked: ForkedCommands
) -> None:
    """The one before is used, and said so."""
    half = root / f"half{suffix}"
    assert forked.run(Fault(half, nth=100), *train_command(root, half)).code == -9
    newest = sorted((half / "checkpoints").glob(f"state-*{suffix}"))[-1]
    if not newest.with_suffix(".json").exists():
        newest = sorted((half / "checkpoints").glob("state-*.json"))[-1].with_suffix(suffix)
    size = newest.stat().st_size
    flips = [(size * part // 40, flip) for part in range(40)]
    for place, damage in effort(flips[20:21], [*flips, (size // 2, truncate), (0, truncate)]):
        run = root / "damaged"
        shutil.copytree(half, run)
        with tally.attempt():
            damage(run / newest.relative_to(half), place)
            again = forked.run(Fault(run), *train_command(root, run)[1:])
            assert again.code == 0, again.output
            assert f"{newest.stem}: this checkpoint is damaged; trying the one before" in again.output
            assert_same_run(run, undisturbed)
        shutil.rmtree(run)


@pytest.mark.slow
def test_never_a_silent_restart(root: Path, undisturbed: Path, tally: Tally, forked: ForkedCommands) -> None:
    run = root / "no state"
    shutil.copytree(undisturbed, run)
    for path in (run / "checkpoints").glob("state-*.rest"):
        truncate(path, 0)
    with tally.attempt():
        refused = forked.run(Fault(run), *train_command(root, run))
        assert (refused.code, "start anew with --restart" in refused.output) == (1, True), refused.output
        for path in (run / "checkpoints").glob("state-*.json"):
            path.unlink()
        refused = forked.run(Fault(run), *train_command(root, run))
        assert (refused.code, "--restart" in refused.output) == (1, True), refused.output
