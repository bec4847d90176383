"""Our shards are zarr's shards, byte for byte."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from zarr.storage import MemoryStore

from dvs_transfer.cache.sharding import decode_samples, encode_shard
from dvs_transfer.cache.writer import ArrayLayout, create_array


def encode_with_zarr(data: np.ndarray[Any, Any], samples_per_shard: int) -> bytes:
    layout = ArrayLayout(data.shape[1:], data.dtype.name)
    files: dict[str, Any] = {}
    array = create_array(MemoryStore(files), "value", layout, samples_per_shard, samples_per_shard)
    array[...] = np.concatenate([data, np.zeros((samples_per_shard - len(data), *data.shape[1:]), data.dtype)])
    return bytes(files["value/c/0/0/0/0"].to_bytes())


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "uint16"])
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_bytes_are_those_of_zarr(dtype: str, data: st.DataObject) -> None:
    samples_per_shard = data.draw(st.integers(1, 5))
    num_samples = data.draw(st.integers(1, samples_per_shard))
    shape = (num_samples, *data.draw(st.tuples(*[st.integers(1, 6)] * 3)))
    values = data.draw(arrays(np.dtype(dtype), shape))
    assert encode_shard(values, samples_per_shard) == encode_with_zarr(values, samples_per_shard)


def test_large_samples_and_zeros() -> None:
    rng = np.random.default_rng(0)
    frames = rng.poisson(0.3, (3, 20, 48, 48)).astype(np.float16)
    frames[1] = 0
    assert encode_shard(frames, 4) == encode_with_zarr(frames, 4)


def test_strides_and_byte_order_do_not_matter() -> None:
    values = np.arange(48, dtype=np.uint16).reshape(2, 2, 3, 4)
    assert encode_shard(values.astype(">u2"), 2) == encode_shard(values, 2)
    assert encode_shard(values[:, ::-1][:, ::-1], 2) == encode_shard(values, 2)


def test_samples_are_decoded_alone_and_in_any_order() -> None:
    frames = np.random.default_rng(0).poisson(0.3, (3, 2, 5, 5)).astype(np.float16)
    file = io.BytesIO(encode_shard(frames, 4))
    out = np.ones((4, 2, 5, 5), np.float16)
    decode_samples(file, 4, zip((2, 0, 3, 2), out, strict=True))
    np.testing.assert_array_equal(out, [frames[2], frames[0], np.zeros_like(frames[0]), frames[2]])


def test_a_changed_byte_of_a_sample_or_of_the_index_is_noticed() -> None:
    content = encode_shard(np.arange(12, dtype=np.uint8).reshape(2, 6), 2)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(ValueError, match="checksum does not match"):
            decode_samples(io.BytesIO(damaged), 2, enumerate(np.empty((2, 6), np.uint8)))
