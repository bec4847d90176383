"""Nested plain values and tensors as bytes, and back, without pickle: what was read is data, whoever wrote it.

A safetensors file whose header holds the values as JSON, in which a tensor is its name, and tuples and dictionaries say
what they are: JSON knows neither tuples nor keys that are numbers.
"""

from __future__ import annotations

import json
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor

from ...cache.documents import parse_json

_KEY: Final = "values"
_HEADER_LENGTH_BYTES: Final = 8


def to_bytes(value: Any) -> bytes:
    """`value`: None, truth values, numbers, texts and tensors, in any nesting of lists, tuples and dictionaries."""
    tensors: dict[str, Tensor] = {}
    described = json.dumps(_describe(value, tensors))
    return safetensors.torch.save(tensors, {_KEY: described})


def from_bytes(content: bytes) -> Any:
    """What `to_bytes` was given. Raises SafetensorError, ValueError, KeyError or TypeError where it is damaged."""
    tensors = safetensors.torch.load(content)
    size = int.from_bytes(content[:_HEADER_LENGTH_BYTES], "little")
    header = parse_json(content[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + size])
    return _restore(parse_json(header["__metadata__"][_KEY]), tensors)


def _describe(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        is_channels_last = value.dim() == 4 and not value.is_contiguous()
        return {"tensor": name, "channels_last": is_channels_last}
    if isinstance(value, dict):
        return {"items": [[_describe(key, tensors), _describe(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_describe(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_describe(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is no plain value")


def _restore(described: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(described, list):
        return [_restore(item, tensors) for item in described]
    if not isinstance(described, dict):
        return described
    if "tensor" in described:
        tensor = tensors[described["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if described["channels_last"] else tensor
    if "tuple" in described:
        return tuple(_restore(item, tensors) for item in described["tuple"])
    return {_restore(key, tensors): _restore(item, tensors) for key, item in described["items"]}
