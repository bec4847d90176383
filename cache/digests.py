"""Digests: XXH3-128 for the contents of files (fast, not against forgery), SHA-256 for descriptions and splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

FINGERPRINT_DIGITS = 12
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def blocks_digest(blocks: Iterable[bytes | bytearray | memoryview]) -> str:
    """The XXH3-128 of all the blocks together, as "xxh3:<32 hexadecimal digits>"."""
    state = xxhash.xxh3_128()
    for block in blocks:
        state.update(block)
    return f"xxh3:{state.hexdigest()}"


def content_digest(data: bytes | bytearray | memoryview) -> str:
    """The same of bytes that are held."""
    return blocks_digest([data])


def file_digest(path: Path) -> str:
    """The same of a file, read in blocks that stay in the processor's cache."""
    with path.open("rb", buffering=0) as file:
        return stream_digest(file)


def stream_digest(file: BinaryIO) -> str:
    """The same of what is left of an open file."""
    return f"xxh3:{hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()}"  # type: ignore[arg-type]


def fingerprint(description: Any) -> str:
    """The SHA-256 of a JSON-able description, independent of the order of its keys; 64 hexadecimal digits."""
    return hashlib.sha256(_canonical(description)).hexdigest()


def manifest_digest(entries: Iterable[tuple[str, ...]]) -> str:
    """The digest of a source: of its samples' identities (id, content digest, metadata) in order.

    The `fingerprint` of the list of them, which is never held: there may be millions.
    """
    state, between = hashlib.sha256(b"["), b""
    for entry in entries:
        state.update(between + _canonical(entry))
        between = b","
    state.update(b"]")
    return state.hexdigest()


def code_digest(files: Iterable[Path]) -> str:
    """The digest of source files, by name and content: what they compute belongs to a fingerprint."""
    return fingerprint([[path.name, content_digest(path.read_bytes())] for path in sorted(files)])


def _canonical(description: Any) -> bytes:
    return _ENCODER.encode(description).encode()
