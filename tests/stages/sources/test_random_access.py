from __future__ import annotations

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import random_access
from dvs_transfer.stages.sources.random_access import AsFile, FileBytes, Inflated, Slice


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
