"""Small stores of recordings and photos whose ids, contents, digests and sources a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvs_transfer.cache.digests import fingerprint
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing import PairingReport
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import make_layout

SIZE = 24
Pictures = Mapping[str, NDArray[np.float64]]


def scene(number: int) -> NDArray[np.float64]:
    """(SIZE, SIZE) in [0, 1]: a picture like no other number's, without sharp noise."""
    coarse = np.random.default_rng(number).random((6, 6))
    return np.kron(coarse, np.ones((SIZE // 6, SIZE // 6)))


def ids(class_names: Sequence[str], stems: Sequence[str]) -> list[str]:
    return [f"{class_name}/{stem}" for class_name in class_names for stem in stems]


def write_store(
    folder: Path,
    kind: str,
    names: Sequence[str],
    dataset: str | None = None,
    pictures: Pictures | None = None,
    digests: Mapping[str, str] | None = None,
    quarantined: Sequence[str] = (),
    class_of: Callable[[str], str] = lambda name: name.rpartition("/")[0],
    source: str | None = None,
) -> Path:
    """A store of these samples; what is not in `pictures` shows the scene of its number in the store, apart by kind.

    source: the reader that the ids are said to be of.
    """
    class_names = tuple(dict.fromkeys(map(class_of, names)))
    layout = make_layout(kind, len(names), samples_per_shard=len(names), size=SIZE, num_bins=2, class_names=class_names)
    shown = [(pictures or {}).get(name, scene(1000 * (kind == "images") + row)) for row, name in enumerate(names)]
    stated = {"ids": list(names), "shown": fingerprint([picture.tobytes().hex() for picture in shown])}
    layout = replace(layout, dataset=dataset or layout.dataset, recipe=fingerprint(layout.config | stated))
    if source is not None:
        layout = replace(layout, config=layout.config | {"source": source})
    value = np.array(shown, np.float32)[:, None]
    arrays: dict[str, NDArray[Any]] = {"value": value, "images": np.repeat(255 * value, 3, axis=1).astype(np.uint8)}
    if kind == "events":
        arrays = {"frames": np.repeat((20 * value)[:, None], 2, axis=1).repeat(2, axis=2).astype(np.float16)}
    text = np.dtypes.StringDType()
    columns: dict[str, NDArray[Any]] = {
        "label": np.array([-1 if n in quarantined else class_names.index(class_of(n)) for n in names]),
        "sample_id": np.array(names, text),
        "source_digest": np.array([(digests or {}).get(name, f"{kind} {name}") for name in names], text),
        "problem": np.array(["broken" if name in quarantined else "" for name in names], text),
    }
    builder = StoreBuilder(folder, layout)
    builder.begin()
    builder.write_shard(0, arrays, [{"row": row} for row in range(len(names))])
    return builder.finish(columns, "the manifest")


def pair(events: Path, images: Path | None, **config: Any) -> tuple[PairingReport, list[str]]:
    """The report of pairing the two, a fifth of each class to validate and a fifth to test, and what was said."""
    said: list[str] = []
    settings = PairingConfig.model_validate({"train": 0.6, "validation": 0.2, "test": 0.2, **config})
    return pairing.run(settings, events, images, events.parent, said.append), said
