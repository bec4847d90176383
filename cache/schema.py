"""The format of a store, version 1: what lies in it, checked whenever one is opened.

    <name>-<first 12 digits of the fingerprint>.zarr/
      zarr.json    attributes: `StoreAttributes`
      <array>      (N, ...) sharded along the samples; one inner chunk is one sample
      <column>     (N,) or (N, k), one chunk

Kinds and their arrays:
    events    frames (N, T, 2, H, W) counts
    images    images (N, 3, H, W) uint8 RGB;  value (N, 1, H, W) float32, HSV's V in [0, 1];  where it is known how they
              were drawn, strokes (N, K, 4) float32, dots of ink: x, y, begin, end
    pairs     columns alone, see `cache.pairs`
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from .digests import FINGERPRINT_DIGITS, fingerprint
from .documents import Frozen
from .errors import StoreError

SCHEMA_VERSION = 1
STORE_SUFFIX = ".zarr"
PARTIAL_SUFFIX = ".zarr.partial"
REPAIR_SUFFIX = ".repair"  # behind the name of a store that is being mended

Kind = Literal["events", "images", "pairs"]

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "frames": ("sample", "time", "polarity", "y", "x"),
    "images": ("sample", "channel", "y", "x"),
    "value": ("sample", "channel", "y", "x"),
    "strokes": ("sample", "dot", "field"),
}
ARRAYS_OF_KIND: dict[str, tuple[str, ...]] = {"events": ("frames",), "images": ("images", "value"), "pairs": ()}
MORE_ARRAYS: dict[str, tuple[str, ...]] = {"images": ("strokes",)}  # that some stores of a kind have after these


class ChunkFile(Frozen):
    """One file of a store, a chunk or an array's metadata: its size in bytes and its digest."""

    num_bytes: int
    digest: str


class StoreAttributes(Frozen):
    """The attributes of a store's root group.

    config: what the store was made with, enough to make it again from the raw data.
    recipe: digest of what the store was made with and by which code: all but the contents of the raw data.
    manifest_digest: of the raw samples' ids and digests.
    fingerprint: of recipe and manifest together; what the store is named by.
    files: every file of every array, its metadata and its chunks, by its path inside the store.
    seal: digest of all the other attributes but `created`; tells a damaged root from a whole one.
    """

    schema_version: int
    kind: Kind
    dataset: str
    num_samples: int
    samples_per_shard: int
    class_names: tuple[str, ...]
    config: dict[str, Any]
    recipe: str
    manifest_digest: str
    fingerprint: str
    files: dict[str, ChunkFile]
    versions: dict[str, str]
    created: str
    seal: str = ""

    def sealed(self) -> StoreAttributes:
        """The same attributes with the seal that belongs to them."""
        return self.model_copy(update={"seal": self.compute_seal()})

    def compute_seal(self) -> str:
        return fingerprint(self.model_dump(mode="json", exclude={"created", "seal"}))


def store_name(dataset: str, full_fingerprint: str) -> str:
    return f"{dataset}-{full_fingerprint[:FINGERPRINT_DIGITS]}{STORE_SUFFIX}"


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def parse_attributes(raw: dict[str, Any], path: object) -> StoreAttributes:
    """The attributes of the store at `path`. Raises StoreError: another schema, missing or damaged attributes."""
    found = raw.get("schema_version")
    if found is None:
        raise StoreError(f"{path}: a zarr group, but no dvs-transfer store (it has no schema_version)")
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: the store has schema version {found!r}, this software reads version {SCHEMA_VERSION}; "
            "make it again with `dvs-transfer preprocess` or `convert`, or use the release that wrote it"
        )
    try:
        attributes = StoreAttributes.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise StoreError(f"{path}/zarr.json: the store's attributes are damaged ({problems}); make it again") from None
    if attributes.seal != attributes.compute_seal():
        raise StoreError(f"{path}/zarr.json: the attributes do not match their seal; they were changed: make it again")
    return attributes
