"""The bytes of a shard, as zarr's sharding codec lays them out.

Written here and not by zarr because a shard of small samples costs zarr two to three times as long (a coroutine for
each codec of each chunk); tests hold the two to the same bytes. zarr v3 specification, codecs sharding_indexed (index
at the end), zstd and crc32c:

    chunk 0, chunk 1, ...      each: Zstandard frame with checksum, then its CRC32C
    index                      for each chunk its offset and length, uint64 little endian; then the index' CRC32C
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

ZSTD_LEVEL = 1


def encode_shard(data: NDArray[Any], samples_per_shard: int) -> bytes:
    """The shard file that holds `data` (n, ...), one chunk for each sample; zeros fill up a shard of fewer samples."""
    codec = Zstd(level=ZSTD_LEVEL, checksum=True)
    data = np.ascontiguousarray(data, data.dtype.newbyteorder("<"))
    chunks = [_with_checksum(bytes(codec.encode(sample))) for sample in data]
    if len(data) < samples_per_shard:
        empty = _with_checksum(bytes(codec.encode(np.zeros(data.shape[1:], data.dtype))))
        chunks += [empty] * (samples_per_shard - len(data))
    lengths = np.array([len(chunk) for chunk in chunks], "<u8")
    index = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1).astype("<u8")
    return b"".join([*chunks, _with_checksum(index.tobytes())])


def decode_samples(file: BinaryIO, samples_per_shard: int, wanted: Iterable[tuple[int, NDArray[Any]]]) -> None:
    """Fill each array of `wanted` with the sample of that number in an open shard file, reading no other one.

    The arrays are contiguous, little endian and of one sample's size. Raises ValueError or RuntimeError: a checksum or
    a size does not match.
    """
    codec = Zstd()
    file.seek(-(16 * samples_per_shard + _CHECKSUM_BYTES), os.SEEK_END)
    index = np.frombuffer(_without_checksum(file.read()), "<u8").reshape(samples_per_shard, 2)
    for number, out in wanted:
        offset, length = index[number].tolist()
        file.seek(offset)
        codec.decode(_without_checksum(file.read(length)), out)


_CHECKSUM_BYTES = 4


def _with_checksum(data: bytes) -> bytes:
    return data + int(google_crc32c.value(data)).to_bytes(_CHECKSUM_BYTES, "little")


def _without_checksum(data: bytes) -> bytes:
    content = data[:-_CHECKSUM_BYTES]
    if _with_checksum(content) != data:
        raise ValueError("its checksum does not match")
    return content
