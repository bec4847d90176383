from __future__ import annotations

import contextlib
import gzip
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import archives, tree
from dvs_transfer.stages.sources.archives import extract_safely
from dvs_transfer.stages.sources.random_access import FileBytes
from dvs_transfer.stages.sources.tree import ArchiveTree

FILES = {"b/one.txt": b"one", "b/c/two.txt": b"two" * 1000, "a.txt": b"", "b/zero.bin": bytes(5000)}


def open_bytes(folder: Path, content: bytes) -> ArchiveTree:
    path = folder / "archive"
    path.write_bytes(content)
    return ArchiveTree(FileBytes(path))


def read_all(folder: Path, content: bytes) -> dict[str, bytes]:
    opened = open_bytes(folder, content)
    return {member.name: opened.read(member.name) for member in opened.members}


@pytest.fixture(params=["stored zip", "deflated zip", "tar", "tar.gz"])
def archive(request: pytest.FixtureRequest, make: Any) -> bytes:
    kinds = {
        "stored zip": lambda: make.zip(FILES, zipfile.ZIP_STORED),
        "deflated zip": lambda: make.zip(FILES, zipfile.ZIP_DEFLATED),
        "tar": lambda: make.tar(FILES, gzipped=False),
        "tar.gz": lambda: make.tar(FILES),
    }
    return kinds[request.param]()


def test_a_tree_lists_and_reads_every_member(tmp_path: Path, archive: bytes) -> None:
    opened = open_bytes(tmp_path, archive)
    assert opened.children("") == (["b"], ["a.txt"])
    assert opened.children("b") == (["c"], ["one.txt", "zero.bin"])
    assert opened.children("nowhere") == ([], [])
    assert read_all(tmp_path, archive) == FILES
    assert opened.exists("a.txt")
    assert not opened.exists("b")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_large_member_of_a_zip_is_checked_when_it_is_opened(
    method: int, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what is held in memory, a member has the same checksum and size to agree with."""
    for module in (archives, tree):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 4000)
    whole = bytearray(make.zip({"a.bin": bytes(range(256)) * 20}, method))
    content = open_bytes(tmp_path, bytes(whole)).content("a.bin")
    assert not isinstance(content, bytes)
    assert content.read_at(0, 6000) == bytes(range(256)) * 20
    directory = whole.rindex(b"PK\x01\x02")
    damaged = whole.copy()
    damaged[directory + 16] ^= 1  # the checksum
    with pytest.raises(SourceError, match=r"a\.bin: 5120 bytes with the checksum \w+, the archive announces 5120"):
        open_bytes(tmp_path, bytes(damaged)).content("a.bin")
    if method == zipfile.ZIP_DEFLATED:
        whole[directory + 24 : directory + 28] = struct.pack("<I", 5130)
        with pytest.raises(SourceError, match=r"a\.bin: 5120 bytes .*announces 5130"):
            open_bytes(tmp_path, bytes(whole)).content("a.bin")


def test_extracted_files_equal_the_members(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    target = tmp_path / "out here" / "für"
    assert extract_safely(path, target) == len(FILES)
    assert {str(file.relative_to(target)): file.read_bytes() for file in target.rglob("*") if file.is_file()} == FILES
    assert sorted(p.name for p in target.parent.iterdir()) == ["für"]


def test_extraction_does_not_touch_what_is_there(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(SourceError, match="exists already"):
        extract_safely(path, tmp_path / "mine")
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path, make: Any) -> None:
    content = bytearray(make.zip({"a": bytes(1000)}))
    directory = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 10)  # announces 10 bytes, inflates to 1,000
    with pytest.raises(SourceError, match="damaged"):
        open_bytes(tmp_path, bytes(content)).read("a")


def test_overlapping_members_are_refused(tmp_path: Path, make: Any) -> None:
    content = bytearray(make.zip({"a": b"1" * 100, "b": b"2" * 100}, zipfile.ZIP_STORED))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", content, second + 42, 10)  # the second member starts within the first
    with pytest.raises(SourceError):
        open_bytes(tmp_path, bytes(content)).read("b")


def test_encryption_and_other_methods_are_refused(tmp_path: Path, make: Any) -> None:
    with pytest.raises(SourceError, match="method 14"):
        open_bytes(tmp_path, make.zip({"a": b"1" * 100}, zipfile.ZIP_LZMA))
    content = bytearray(make.zip({"a": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(SourceError, match="encrypted"):
        open_bytes(tmp_path, bytes(content))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 but no more", b"Rar!\x1a\x07\x00", gzip.compress(b"text" * 500)):
        with pytest.raises(SourceError, match="archive"):
            open_bytes(tmp_path, content)


def test_every_truncation_is_noticed(tmp_path: Path, archive: bytes) -> None:
    for size in range(0, len(archive) - 1, max(1, len(archive) // 60)):
        if archive[257:262] == b"ustar" and not any(archive[size:]):
            continue  # only padding was cut off
        with pytest.raises(SourceError):
            read_all(tmp_path, archive[:size])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_flipped_byte_is_an_error_or_harmless(tmp_path: Path, archive: bytes, place: float, value: int) -> None:
    content = bytearray(archive)
    content[int(place * len(content))] = value
    with contextlib.suppress(SourceError):  # any other exception fails
        read_all(tmp_path, bytes(content))


def test_the_checksum_of_a_zip_member_is_checked(tmp_path: Path, make: Any) -> None:
    content = make.zip({"a": b"recording"}, zipfile.ZIP_STORED).replace(b"recording", b"rEcording", 1)
    with pytest.raises(SourceError, match=f"{zlib.crc32(b'recording'):08x}"):
        open_bytes(tmp_path, content).read("a")


def test_a_full_disk_and_a_name_that_is_file_and_folder(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive"
    path.write_bytes(make.zip({"a": b"1", "a/b": b"2"}))
    with pytest.raises(SourceError, match="cannot be written"):
        extract_safely(path, tmp_path / "target")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1}))
    with pytest.raises(SourceError, match=r"2 bytes are needed to unpack .*, 1 are free"):
        extract_safely(path, tmp_path / "target")
    assert list(tmp_path.iterdir()) == [path]
