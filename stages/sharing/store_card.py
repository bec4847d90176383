"""The card of stores: which raw data they hold, under which licence, cut into frames how."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...cache.documents import flatten
from ...cache.pairs import SPLIT_CODES, PairStore
from ...cache.store import FrameStore
from . import licences
from .cards import card, repository_name, table
from .run_card import LIBRARY

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def stores_card(name: str, pairs: PairStore | None, stores: Sequence[FrameStore], licence: str | None) -> str:
    """stores: those of recordings and images.  pairs: what joins them, where that is in the folder, too."""
    found = [licences.title_and_licence(str(store.attributes.config.get("source", ""))) for store in stores]
    largest = max(len(store) for store in stores)
    metadata = {
        **licences.metadata([one for _, one in found], licence),
        "pretty_name": name,
        "tags": [LIBRARY, "event-camera", "dvs", "neuromorphic", "zarr"],
        "task_categories": ["video-classification"],
        "size_categories": [next((text for limit, text in _SIZES.items() if largest < limit), "n>10M")],
    }
    text = [f"# {name}", "Frames of an event camera's recordings, or images, as dvs-transfer keeps them (zarr)."]
    if pairs is not None:
        text += ["## Split", table(list(_split(pairs)))]
    for store, (title, raw) in zip(stores, found, strict=True):
        text += [f"## `{store.path.name}`", table(list(_rows(store, title, raw)))]
    if licence:
        text.append(f"Licence of this folder, as its maker says: {licence}.")
    shown = stores[0] if pairs is None else pairs
    text += [
        "A store does not know whether its raw files are those that were published, or made in their format.",
        "## Use",
        "    pip install 'dvs-transfer[hub]'\n"
        f"    dvs-transfer hub pull datasets/USER/{repository_name(name)}\n"
        f"    dvs-transfer preview data/{repository_name(name)}/{shown.path.name} --html",
    ]
    return card(metadata, "\n\n".join(text))


def _split(pairs: PairStore) -> Iterator[tuple[str, object]]:
    attributes = pairs.store.attributes
    yield "pair store", f"`{pairs.path.name}`"
    yield "protocol", pairs.protocol
    yield "photos of held-out recordings among those that teach", pairs.photos_in_reach
    yield "split digest", f"`{pairs.description.split_digest}`"
    for split in SPLIT_CODES:
        if count := len(pairs.rows_of(split)):
            yield f"{split} recordings", f"{count:,}"
    yield "labelled recordings that teach", f"{len(pairs.store.column('train_rows')):,}"
    yield "photos that teach", f"{len(pairs.store.column('pool_rows')):,}"
    yield "classes", f"{len(attributes.class_names):,}"
    yield "fingerprint", f"`{attributes.fingerprint}`"


def _rows(store: FrameStore, title: str, licence: str) -> Iterator[tuple[str, object]]:
    attributes = store.attributes
    settings: Mapping[str, Any] = attributes.config
    yield "source", f"`{settings.get('source', 'not known')}`"
    yield "published data set that it reads", title
    yield "licence of that", licence
    if settings.get("simulation"):
        yield "recorded", "photos of that, by a simulated camera"
    quarantined = len(store) - int(store.valid.sum())
    yield "samples", f"{len(store):,}" + (f", {quarantined:,} of them could not be read" if quarantined else "")
    yield "classes", f"{len(attributes.class_names):,}"
    for key in ("frames", "images", "simulation"):
        for inner, value in flatten(settings.get(key) or {}).items():
            yield f"{key}.{inner}", f"`{json.dumps(value)}`"
    yield "fingerprint", f"`{attributes.fingerprint}`"
    yield "digest of the raw samples", f"`{attributes.manifest_digest}`"
    yield "made", f"{attributes.created} by {', '.join(f'{name} {of}' for name, of in attributes.versions.items())}"
