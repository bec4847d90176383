"""What decides the content of a store but the contents of the raw files, as digests. Caches outlive a release.

Of the code it is the version of the source's reader and that of the frames, not its text: a message, a comment or a
faster way to the same output make no store stale. `tests/test_output_versions.py` tells when a version must be raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...cache.digests import fingerprint
from ...cache.schema import SCHEMA_VERSION
from ..frames import VERSION as FRAMES_VERSION
from ..simulation.recorded import RecordedPhotos
from ..sources import TonicReader
from ..sources.reader import Reader
from .config import ConvertConfig

# The version before kept the digest of its code instead. It gave the same output as version 1 of every reader and of
# the frames, so that its stores are up to date as long as these are the versions. By reader; all of tonic's have one.
CODE_BEFORE: Final[Mapping[str, str]] = {
    "ncaltech101": "4f94377949d6934d94f82681fc1a0215570accfaff5fa4f540f81d185ba5bb52",
    "caltech101": "001b8d748f4b091f6e0de7b194b44adbd2129327c34f49df9c5d14dce7c188cf",
    "cepdvs": "e8dc5a1b8c94a7881aeefde1cddb75d03c784ca01afed56da65b57b49e2c6bf3",
    "cepdvs-images": "e8dc5a1b8c94a7881aeefde1cddb75d03c784ca01afed56da65b57b49e2c6bf3",
    "nmnist": "b648f16dee3def70191875be6935b9539fc8252a09eefc777105c4092f04a684",
    "mnist": "bb141d497d765953f3d18eff3b91e5cb168861f75da9259362e98c9975173fc3",
    "cifar10dvs": "7f09f1a6692cca5126aa71501903c01473e7b24f5c76d64beb958b8edcb8a4b3",
    "cifar10": "1e0c505f21f8018309b9fcf8f9157d80c9993506589de7fc4f90401721032fba",
    "nomniglot": "2d32d373dd4df8df5efec9fd40de023f0d69018c40ef5c5200237c5f33e58a81",
    "omniglot": "f42db1be1bb17854ab8bd29332f500ff0916de8d33cf0fb6ace2681c34b0105c",
    "image-folder": "fc31f05c7ff5f58a7ee0dfc3fc0de25662eb48715ee505098355f827bf9324d5",
    "tonic": "c9f0dc8e12909bf6e53d9522745e102c5d45670156c7d25675adcd144c61588b",
}


def recipes(config: ConvertConfig, source: Reader) -> tuple[str, ...]:
    """The recipe of a store that is made now; then those of older stores that hold the same."""
    described = {
        "schema_version": SCHEMA_VERSION,
        "config": config.for_kind(source.kind),
        "class_names": source.class_names,
        "samples": [sample.sample_id for sample in source.samples],
    }
    versions = {"reader": source.version, "frames": FRAMES_VERSION}
    if isinstance(source, RecordedPhotos):
        versions["photos"] = source.photos.version
    codes: list[Any] = [versions]
    before = CODE_BEFORE.get("tonic" if isinstance(source, TonicReader) else source.name)
    if before and set(versions.values()) == {"1"}:
        codes.append(before)
    return tuple(fingerprint({**described, "code": code}) for code in codes)
