from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import random_access
from dvs_transfer.stages.sources.random_access import AsFile, FileBytes, Inflated, InMemory, Slice, array_at, read_file


@pytest.fixture(scope="module")
def plain() -> bytes:
    """5 MB that deflate halves: random bytes of four bits each."""
    return np.random.default_rng(5).integers(0, 16, 5_000_000, dtype=np.uint8).tobytes()


@pytest.fixture
def gzipped(tmp_path: Path, plain: bytes) -> Path:
    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(plain, 1, mtime=0))
    return path


def test_a_slice_is_the_part_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    part = Slice(FileBytes(path), 10, 20, "part")
    assert part.read_at(0, 100) == bytes(range(10, 30))
    assert part.read_at(15, 100) == bytes(range(25, 30))
    assert part.read_at(25, 5) == b""


def test_inflated_bytes_equal_the_plain_ones_at_any_offset(
    gzipped: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_access, "_CHECKPOINT_BYTES", 1 << 20)
    view = Inflated(FileBytes(gzipped), 31, "data.gz")
    assert view.size == len(plain)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(plain) + 10), st.integers(0, 700_000))
    def compare(offset: int, size: int) -> None:
        assert view.read_at(offset, size) == plain[offset : offset + size]

    compare()


def test_threads_read_the_same(gzipped: Path, plain: bytes) -> None:
    view = Inflated(FileBytes(gzipped), 31, "data.gz")
    offsets = np.random.default_rng(0).integers(0, len(plain), 80).tolist()
    with ThreadPoolExecutor(4) as pool:
        for offset, data in zip(offsets, pool.map(lambda offset: view.read_at(offset, 1000), offsets), strict=True):
            assert data == plain[offset : offset + 1000]


def test_a_truncated_stream_is_refused(tmp_path: Path, gzipped: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzipped.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"cut\.gz.*truncated"):
        Inflated(FileBytes(path), 31, "cut.gz")


def test_a_damaged_stream_is_refused(tmp_path: Path, gzipped: Path) -> None:
    content = bytearray(gzipped.read_bytes())
    content[1000:1100] = bytes(100)
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.gz.*damaged"):
        Inflated(FileBytes(path), 31, "bad.gz")


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000), mtime=0))
    steps = []
    monkeypatch.setattr(random_access._Decoder, "copy", lambda self: steps.append(self.out) or self)
    with pytest.raises(SourceError, match="200 times"):
        Inflated(FileBytes(path), 31, "bomb.gz")
    assert max(steps) < 20_000_000


def test_reading_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with pytest.raises(SourceError, match="limit"):
        FileBytes(path).read_at(0, random_access.MAX_READ_BYTES + 1)


def test_as_file_keeps_a_position(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(10)))
    file = AsFile(FileBytes(path))
    assert (file.read(2), file.tell()) == (b"\0\1", 2)
    assert (file.seek(-3, 2), file.read()) == (7, bytes((7, 8, 9)))
    assert file.read(5) == b""


def test_a_missing_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        FileBytes(tmp_path / "nowhere")


def test_raw_deflate_is_read_too(tmp_path: Path) -> None:
    encoder = zlib.compressobj(wbits=-15)
    path = tmp_path / "raw"
    path.write_bytes(encoder.compress(b"event" * 10) + encoder.flush())
    assert Inflated(FileBytes(path), -15, "raw").read_at(5, 5) == b"event"


# Files of several gzip members (RFC 1952) -----------------------------------------------------------------------------


def packed(content: bytes, level: int = 1) -> bytes:
    return gzip.compress(content, level, mtime=0)


def inflated(data: bytes) -> Inflated:
    return Inflated(InMemory(data, "data.gz"), 31, "data.gz")


def contents(data: bytes) -> bytes:
    view = inflated(data)
    return view.read_at(0, view.size)


def packed_to(size: int) -> tuple[bytes, bytes]:
    """A content, and its member of exactly `size` bytes."""
    for length in range(size - 100, size):
        content = np.random.default_rng(length).bytes(length)
        if len(packed(content, 0)) == size:
            return content, packed(content, 0)
    raise AssertionError(size)


# Lengths and levels of members: none, one byte, shorter and longer than a checkpoint, stored, as bgzip cuts them.
MEMBERS = (
    (0, 1),
    (1, 1),
    (3_000_000, 1),
    (0, 9),
    (65_280, 6),
    (65_280, 6),
    (300_000, 0),
    (5, 1),
    (1_200_000, 1),
    (0, 1),
)


def test_members_are_read_as_one_content_at_any_offset(plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_access, "_CHECKPOINT_BYTES", 1 << 20)
    edges = np.cumsum([0, *(length for length, _ in MEMBERS)]).tolist()
    parts = [packed(plain[edges[i] : edges[i + 1]], level) for i, (_, level) in enumerate(MEMBERS)]
    view, whole = inflated(b"".join(parts)), plain[: edges[-1]]
    assert view.size == len(whole)
    assert view.held is None
    assert view.read_at(0, view.size) == whole, "in order"
    for edge in reversed(edges):
        assert (
            view.read_at(max(0, edge - 70_000), 140_000)
            == whole[max(0, edge - 70_000) : max(0, edge - 70_000) + 140_000]
        )

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(whole) + 10), st.integers(0, 700_000))
    def compare(offset: int, size: int) -> None:
        assert view.read_at(offset, size) == whole[offset : offset + size]

    compare()


def test_members_larger_than_a_checkpoint() -> None:
    rng = np.random.default_rng(7)
    first, second = (rng.integers(0, 4, size, np.uint8).tobytes() for size in (9 << 20, 18 << 20))
    view, whole = inflated(packed(first) + packed(second)), first + second
    assert view.size == len(whole)
    for offset in (len(whole) - 1000, len(first) - 500, 100, len(first) + (17 << 20), len(first), len(first) - 1):
        assert view.read_at(offset, 1000) == whole[offset : offset + 1000]


@pytest.mark.parametrize("input_bytes", [1, 2, 3, 5, 20, 21, 64])
@pytest.mark.parametrize("padding", [0, 1, 2, 100])
def test_a_member_may_end_anywhere_in_what_is_read_at_once(
    input_bytes: int, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of a byte the signature of the next member lies in two of them."""
    monkeypatch.setattr(random_access, "_INPUT_BYTES", input_bytes)
    texts = [b"one", b"", b"four" * 9, b"", b"", b"x"]
    assert contents(bytes(padding).join([*map(packed, texts), b""])) == b"".join(texts)


@pytest.mark.parametrize("size", [(1 << 16) - 2, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 17])
def test_a_member_ends_at_the_edge_of_a_block_of_input(size: int) -> None:
    content, member = packed_to(size)
    assert contents(member) == content
    assert contents(member + packed(b"behind") * 2) == content + b"behindbehind"
    assert contents(member + bytes(size) + packed(b"behind") + bytes(size)) == content + b"behind"
    with pytest.raises(SourceError, match=rf"the member that ends at byte {size}\b"):
        contents(member + b"behind")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=50), st.integers(0, 9), st.integers(0, 70_000)), min_size=1, max_size=8))
def test_members_are_what_gzip_reads(members: list[tuple[bytes, int, int]]) -> None:
    data = b"".join(packed(content, level) + bytes(padding) for content, level, padding in members)
    assert contents(data) == gzip.decompress(data) == b"".join(content for content, *_ in members)


def test_empty_members_alone_are_an_empty_content() -> None:
    view = inflated(packed(b"") * 3)
    assert (view.size, view.read_at(0, 10)) == (0, b"")


@pytest.mark.parametrize(
    ("behind", "says"),
    [
        (
            b"events",
            r"data\.gz: .*ends at byte 26 comes 65 76 at byte 26, expected another gzip member.*; fetch it again",
        ),
        (bytes(100_000) + b"events", r"ends at byte 26 comes 65 76 at byte 100026"),
        (b"\x1f", r"ends at byte 26 comes 1f at byte 26"),
        (b"\x1fevents", r"ends at byte 26 comes 1f 65 at byte 26"),
        (b"\x1f\x8bevents", r"data\.gz: damaged before compressed byte (30|34)"),
        (packed(b"events")[:-1], r"data\.gz: the compressed data end after 51 bytes.*truncated"),
        (b"\x1f\x8b", r"data\.gz: the compressed data end after 28 bytes.*truncated"),
    ],
)
@pytest.mark.parametrize("input_bytes", [1, 1 << 16])
def test_what_follows_a_member_and_is_none_is_refused(
    behind: bytes, says: str, input_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_access, "_INPUT_BYTES", input_bytes)
    first = packed(b"events")
    assert len(first) == 26
    with pytest.raises(SourceError, match=says):
        inflated(first + behind)


class Counted(InMemory):
    """Remembers which bytes were asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content, "data.gz")
        self.asked: list[int] = []

    def read_at(self, offset: int, size: int) -> bytes:
        found = super().read_at(offset, size)
        self.asked.append(len(found))
        return found


def test_many_short_members_are_read_once() -> None:
    """A log to which each line was appended by gzip, inside of an archive where going back is dear."""
    data = Counted(packed(b"1 2 3 1\n") * 20_000)
    assert Inflated(data, 31, "data.gz").size == 8 * 20_000
    assert sum(data.asked) == data.size


def test_many_short_members_take_little_memory() -> None:
    """An object for each, which takes 35 bytes and more, would be many times the content: here 6.6 MB."""
    data = packed(b"ab") * 40_000
    tracemalloc.start()
    try:
        view = inflated(data)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert view.size == 80_000


def test_the_ratio_is_that_of_the_whole_file() -> None:
    noise, zeros = np.random.default_rng(0).bytes(100_000), bytes(5_000_000)
    assert contents(packed(zeros) + packed(noise)) == zeros + noise
    with pytest.raises(SourceError, match="200 times"):
        inflated(packed(b"few") + packed(zeros, 9))
    with pytest.raises(SourceError, match="200 times"):
        inflated(packed(bytes(50_000), 9) * 100)


@pytest.mark.parametrize("wbits", [-15, 15])
def test_other_streams_end_at_their_end_mark(wbits: int) -> None:
    encoder = zlib.compressobj(wbits=wbits)
    data = encoder.compress(b"event" * 10) + encoder.flush()
    for behind in (packed(b"more"), data, b"padding", bytes(9)):
        view = Inflated(InMemory(data + behind, "raw"), wbits, "raw")
        assert view.read_at(0, 100) == b"event" * 10


# Reads that give less than what was asked for -------------------------------------------------------------------------


def test_short_reads_are_followed_by_more(tmp_path: Path, plain: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems on a network give them."""
    path = tmp_path / "file"
    path.write_bytes(plain[:100_000])
    pread, preadv = os.pread, os.preadv

    def short_pread(descriptor: int, size: int, offset: int) -> bytes:
        return pread(descriptor, min(size, 7000), offset)

    def short_preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        return preadv(descriptor, [buffers[0][:7000]], offset)

    monkeypatch.setattr(os, "pread", short_pread)
    monkeypatch.setattr(os, "preadv", short_preadv)
    file = FileBytes(path)
    for offset, size in ((0, 100_000), (0, 7000), (5, 14_000), (95_000, 50_000), (100_000, 10), (200_000, 10), (3, 0)):
        assert file.read_at(offset, size) == plain[:100_000][offset : offset + size]
        assert array_at(file, offset, size).tobytes() == plain[:100_000][offset : offset + size]
    assert read_file(str(path)) == plain[:100_000]
    path.write_bytes(plain[:10])
    assert array_at(file, 0, 100_000).tobytes() == file.read_at(0, 100_000) == plain[:10], "no more comes"
