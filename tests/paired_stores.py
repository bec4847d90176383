"""Stores of recordings and of their photos, random and small, for tests of who reads which shards."""

from __future__ import annotations

from pathlib import Path

from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

NAMES = tuple("abcdefg")
IMAGES_PER_SHARD = 5


def make_pairs(folder: Path, per_shard: int, size: int = 6) -> Path:
    """The pair store of 70 recordings of seven classes, `per_shard` in a shard, and 70 photos."""
    if "://" not in str(folder):
        folder.mkdir()
    events, images = (
        build_store(folder, kind, 70, samples_per_shard=samples, size=size, class_names=NAMES)
        for kind, samples in (("events", per_shard), ("images", IMAGES_PER_SHARD))
    )
    shares = PairingConfig(train=0.7, validation=0.1, test=0.2, protocol="unrestricted")
    return pairing.run(shares, events, images, folder).path
