"""Fault 9: archives whose members leave the target, are links or devices, come twice, overlap, or fill the disk."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import snapshot
from fault_injection import Tally

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import archives
from dvs_transfer.stages.sources.archives import extract_safely, list_members
from dvs_transfer.stages.sources.random_access import FileBytes, InMemory
from dvs_transfer.stages.sources.tree import ArchiveTree

SYMLINK = stat.S_IFLNK | 0o777
DEVICE = stat.S_IFCHR | 0o666


def zip_of(*members: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr, info.compress_type = name, mode << 16, method
            archive.writestr(info, content)
    return buffer.getvalue()


def tar_of(*names: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return buffer.getvalue()


OUTSIDE = ("../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:/evil", "")
UNSAFE = {
    **{f"zip: {name!r}": zip_of((name, b"x")) for name in OUTSIDE},
    **{f"tar: {name!r}": tar_of(name) for name in OUTSIDE[:3]},
    "zip: symbolic link": zip_of(("link", b"/etc/passwd"), mode=SYMLINK),
    "zip: device": zip_of(("device", b""), mode=DEVICE),
    "zip: twice": zip_of(("a1", b"1"), ("a2", b"2")).replace(b"a2", b"a1"),
    "zip: twice, written otherwise": zip_of(("a/b", b"1"), ("a//b", b"2")),
    "tar: symbolic link": tar_of("link", kind=tarfile.SYMTYPE, target="/etc/passwd"),
    "tar: hard link": tar_of("link", kind=tarfile.LNKTYPE, target="../x"),
    "tar: device": tar_of("device", kind=tarfile.CHRTYPE),
    "tar: pipe": tar_of("pipe", kind=tarfile.FIFOTYPE),
    "tar: twice": tar_of("a", "./a"),
    "zip: bomb": zip_of(("bomb", bytes(30_000_000)), method=zipfile.ZIP_DEFLATED),
    "tar: a row of headers": 2000 * tarfile.TarInfo.create_pax_global_header({"comment": "x"}) + tar_of("a"),
}
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzipped": lambda content: gzip.compress(content, mtime=0),
    "inside a zip": lambda content: zip_of(("inner", content), method=zipfile.ZIP_DEFLATED),
}


def open_nested(content: bytes) -> ArchiveTree:
    tree = ArchiveTree(InMemory(content, "archive"))
    return ArchiveTree(tree.open("inner")) if tree.exists("inner") else tree


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_archives_are_refused_and_nothing_is_written(name: str, tally: Tally, tmp_path: Path) -> None:
    """As the archive itself, gzipped where it is a tar, and as an archive inside an archive."""
    for how, wrap in WRAPPINGS.items():
        if how == "gzipped" and name.startswith("zip"):
            continue
        content = wrap(UNSAFE[name])
        with tally.attempt():
            with pytest.raises(SourceError):
                open_nested(content)
            if how != "inside a zip":
                path = tmp_path / f"{how} archive"
                path.write_bytes(content)
                before = snapshot(tmp_path)
                with pytest.raises(SourceError):
                    extract_safely(path, tmp_path / "deep" / "target")
                (tmp_path / "deep").rmdir() if (tmp_path / "deep").exists() else None
                assert snapshot(tmp_path) == before


def test_a_ratio_of_one_to_a_hundred_thousand(tally: Tally) -> None:
    """Deflate reaches 1:1032, so it takes an archive inside an archive; each layer is held to its limit."""
    inner = zip_of(("bomb", bytes(100_000_000)), method=zipfile.ZIP_DEFLATED)
    outer = zip_of(("inner", inner), method=zipfile.ZIP_DEFLATED)
    assert len(outer) * 100_000 < 100_000_000
    with tally.attempt(), pytest.raises(SourceError, match="200 times"):
        open_nested(outer)
    stream = zlib.compress(bytes(30_000_000), wbits=31)
    with tally.attempt(), pytest.raises(SourceError, match="200 times"):
        list_members(InMemory(stream, "bomb.tar.gz"))


@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 3), ("MAX_TOTAL_BYTES", 7)])
@pytest.mark.parametrize("how", ["zip", "tar"])
def test_the_caps_on_members_and_bytes(
    how: str, limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zip_of(*((str(i), b"12") for i in range(4)))
    if how == "tar":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number in range(4):
                info = tarfile.TarInfo(str(number))
                info.size = 2
                archive.addfile(info, io.BytesIO(b"12"))
        content = buffer.getvalue()
    path = tmp_path / "archive"
    path.write_bytes(content)
    assert len(list_members(FileBytes(path))) == 4
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(SourceError, match=str(value)):
        list_members(FileBytes(path))


def test_a_header_that_takes_years_to_parse(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """Digits in a pax header take the standard library the square of their number; many headers add up."""
    from dvs_transfer.stages.sources import random_access

    body = b"1" * 8000
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(body)
    header = info.tobuf(tarfile.USTAR_FORMAT) + body.ljust(8192, b"\0")
    monkeypatch.setattr(random_access, "MAX_LISTING_S", 0.1)
    with tally.attempt(), pytest.raises(SourceError, match="CPU time"):
        list_members(InMemory(header * 50 + tar_of("a"), "slow.tar"))
    info.size = 1 << 33
    with tally.attempt(), pytest.raises(SourceError, match="limit"):
        list_members(InMemory(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048), "huge.tar"))
