from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from dvs_transfer.cache import durable

WAYS: dict[str, Callable[[Path], None]] = {
    "whole": lambda path: durable.write_bytes(path, b"{}\n"),
    "document": lambda path: durable.write_json(path, {}),
    "line": lambda path: durable.append_json(path, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_fills_while_a_file_is_flushed_is_told_with_the_file(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on an open file knows no name."""
    path = tmp_path / "a.json"
    WAYS[way](path)
    assert path.read_text() == "{}\n"

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"):
        WAYS[way](path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_that_cannot_be_made_is_told_by_its_own_name(tmp_path: Path) -> None:
    """Not by that of the one aside, which nobody asked for."""
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '[^']*/gone/a\.json'$"):
        durable.write_bytes(tmp_path / "gone" / "a.json", b"{}")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        durable.write_bytes(tmp_path / "folder", b"{}")
    assert caught.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
