"""Small files of any origin: gigabytes, endless files and deep nesting are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run_command

from dvs_transfer.cache.documents import MAX_CONFIG_BYTES, MAX_DOCUMENT_BYTES, parse_json, read_document, read_json
from dvs_transfer.cache.errors import DvsTransferError


def test_a_document_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1]}')
    assert read_json(path) == {"a": [1]}
    assert read_document(path, max_bytes=10) == b'{"a": [1]}'
    with pytest.raises(DvsTransferError, match=r"a\.json: more than 9 bytes"):
        read_document(path, max_bytes=9)


def test_gigabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 40)  # takes no space
    with pytest.raises(DvsTransferError, match=f"more than {MAX_DOCUMENT_BYTES} bytes"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DvsTransferError):
        read_document(Path("/dev/zero"), 1000)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"\xff", b""])
def test_what_is_no_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [("a = " + "[" * 100_000, "not valid TOML"), ("#" * (MAX_CONFIG_BYTES + 1), "more than"), ("a = \0", "not valid")],
)
def test_a_configuration_that_is_none_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(content)
    refused = run_command("--quiet", "--root", tmp_path, "preprocess", "--config", tmp_path / "a.toml")
    assert refused.code == 2
    assert problem in refused.err
