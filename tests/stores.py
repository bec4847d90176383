"""Small stores with random content, for the tests of everything that reads one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dvs_transfer.cache.digests import content_digest, fingerprint
from dvs_transfer.cache.schema import store_name
from dvs_transfer.cache.writer import ArrayLayout, StoreBuilder, StoreLayout

CLASS_NAMES = ("ant", "bee", "cat")


def sample_ids(num_samples: int, class_names: tuple[str, ...] = CLASS_NAMES) -> list[str]:
    """Ids ordered by class, about as many for each."""
    labels = np.arange(num_samples) * len(class_names) // num_samples
    return [f"{class_names[label]}/image_{row:04d}" for row, label in enumerate(labels)]


def make_layout(
    kind: str,
    num_samples: int,
    samples_per_shard: int = 4,
    size: int = 6,
    num_bins: int = 3,
    seed: int = 0,
    class_names: tuple[str, ...] = CLASS_NAMES,
) -> StoreLayout:
    arrays = {
        "events": {"frames": ArrayLayout((num_bins, 2, size, size), "float16")},
        "images": {"images": ArrayLayout((3, size, size), "uint8"), "value": ArrayLayout((1, size, size), "float32")},
    }
    config = {"kind": kind, "seed": seed, "num_samples": num_samples, "class_names": list(class_names)}
    return StoreLayout(
        kind=kind,  # type: ignore[arg-type]
        dataset=f"toy-{kind}",
        num_samples=num_samples,
        samples_per_shard=samples_per_shard,
        class_names=class_names,
        config=config,
        recipe=fingerprint(config),
        arrays=arrays[kind],
    )


def store_path(folder: Path, layout: StoreLayout) -> Path:
    """Where `build_store` puts the store of this layout."""
    full = fingerprint({"recipe": layout.recipe, "manifest": "the manifest"})
    return folder / store_name(layout.dataset, full)


def make_arrays(layout: StoreLayout) -> dict[str, np.ndarray[Any, Any]]:
    """The whole content of the arrays, the same for the same layout."""
    rng = np.random.default_rng(layout.config["seed"])
    return {
        name: (
            rng.integers(0, 200, (layout.num_samples, *array.sample_shape)) / (255 if name == "value" else 1)
        ).astype(array.dtype)
        for name, array in layout.arrays.items()
    }


def write_shards(builder: StoreBuilder, shards: list[int]) -> None:
    arrays = make_arrays(builder.layout)
    for shard in shards:
        rows = builder.layout.rows_of(shard)
        part = {name: array[rows.start : rows.stop] for name, array in arrays.items()}
        builder.write_shard(shard, part, [{"row": row} for row in rows])


def make_columns(layout: StoreLayout, quarantined: tuple[int, ...] = ()) -> dict[str, np.ndarray[Any, Any]]:
    ids = sample_ids(layout.num_samples, layout.class_names)
    labels = np.array([layout.class_names.index(name.split("/")[0]) for name in ids])
    problems = ["broken" if row in quarantined else "" for row in range(layout.num_samples)]
    labels[list(quarantined)] = -1
    text = np.dtypes.StringDType()
    return {
        "label": labels,
        "sample_id": np.array(ids, text),
        "source_digest": np.array([content_digest(f"{layout.config['seed']} {name}".encode()) for name in ids], text),
        "problem": np.array(problems, text),
    }


def build_store(
    folder: Path, kind: str, num_samples: int = 30, quarantined: tuple[int, ...] = (), **layout: Any
) -> Path:
    """A whole store in `folder`; returns its path."""
    builder = StoreBuilder(folder, make_layout(kind, num_samples, **layout))
    write_shards(builder, builder.begin())
    return builder.finish(make_columns(builder.layout, quarantined), "the manifest")
