"""Who finds a folder of raw data: finished, under way, half done, made otherwise, somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.cache.locks import lock_path, writer_lock
from dvs_transfer.stages.simulation import provenance
from dvs_transfer.stages.simulation.provenance import Provenance


@pytest.fixture
def mine(tmp_path: Path) -> Provenance:
    return Provenance(tmp_path / "raw", "demo", {"version": 1})


def test_from_begin_to_finish(mine: Provenance) -> None:
    assert mine.finished() is None
    with writer_lock(mine.folder, "demo"):
        mine.begin()
        assert mine.finished() is None
        mine.finish({"count": 3})
    assert mine.finished() == {"version": 1, "count": 3}
    assert [path.name for path in mine.folder.iterdir()] == ["demo.json"]


def test_one_without_the_lock_finds_nothing_strange_at_any_moment(
    mine: Provenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between two steps of `begin`, when a temporary file is all there is beside the lock."""
    mine.folder.mkdir()
    write_json, seen = provenance.write_json, []

    def look_then_write(path: Path, document: object) -> None:
        (mine.folder / f"{path.name}.1234.tmp").touch()
        seen.append((path.name, mine.finished()))
        (mine.folder / f"{path.name}.1234.tmp").unlink()
        write_json(path, document)

    monkeypatch.setattr(provenance, "write_json", look_then_write)
    with writer_lock(mine.folder, "demo"):
        mine.begin()
        mine.finish({})
    assert seen == [("demo.begun.json", None), ("demo.json", None)]


def test_a_record_of_a_run_that_was_killed_at_its_very_end_counts(mine: Provenance) -> None:
    """Both records are there, also while `begin` goes on; who holds no lock leaves them alone."""
    mine.folder.mkdir()
    mine.finish({})
    mine._begun.write_text('{"version": 1}')
    assert mine.finished() == {"version": 1}
    assert mine._begun.exists()
    lock_path(mine.folder, "demo").touch()
    assert mine.once(lambda done: done, lambda: pytest.fail("all is there")) == {"version": 1}
    assert [path.name for path in mine.folder.iterdir()] == ["demo.json"]


def test_what_is_missing_is_made_again(mine: Provenance) -> None:
    made = []
    for _ in range(2):
        made.append(mine.once(lambda done: done["count"], lambda: (len(made), {"count": 7})))
    assert mine.once(lambda done: None, lambda: (len(made), {"count": 8})) == 2
    assert made == [0, 7]
    assert mine.finished() == {"version": 1, "count": 8}
    assert [path.name for path in mine.folder.iterdir()] == ["demo.json"]


def test_somebody_else_s_files_are_refused_and_left_alone(mine: Provenance) -> None:
    mine.folder.mkdir()
    (mine.folder / "thesis.txt").touch()
    for look in (mine.finished, mine.begin):
        with pytest.raises(ConfigError, match=r"raw is not empty \(thesis\.txt\) and no demo\.json says"):
            look()
    assert [path.name for path in mine.folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["demo.json", "demo.begun.json"])
def test_another_identity_is_refused(mine: Provenance, name: str) -> None:
    mine.folder.mkdir()
    (mine.folder / name).write_text('{"version": 2}')
    with pytest.raises(ConfigError, match="was made otherwise"):
        mine.once(lambda done: done, lambda: pytest.fail("it is another's"))
