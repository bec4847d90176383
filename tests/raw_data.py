"""A small raw data set in N-Caltech101's and Caltech101's formats, and its conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.conversion.run import ConversionReport
from dvs_transfer.stages.sources.atis import encode_records
from dvs_transfer.stages.sources.base import Events

CLASSES = ("ant", "bee")
PER_CLASS = 7


def make_events(seed: int, num_events: int = 3000) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        x=rng.integers(0, 120, num_events).astype(np.uint16),
        y=rng.integers(0, 90, num_events).astype(np.uint16),
        t=np.sort(rng.integers(0, 300_000, num_events)),
        p=rng.integers(0, 2, num_events).astype(np.uint8),
    )


def write_raw_data(folder: Path) -> Path:
    """`<folder>/events` and `<folder>/images`: 14 recordings with their photos; returns the folder."""
    for label, name in enumerate(CLASSES):
        recordings = folder / "events" / "Caltech101" / name
        photos = folder / "images" / "101_ObjectCategories" / name
        recordings.mkdir(parents=True)
        photos.mkdir(parents=True)
        for number in range(1, PER_CLASS + 1):
            seed = label * 100 + number
            (recordings / f"image_{number:04d}.bin").write_bytes(encode_records(make_events(seed)))
            pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(photos / f"image_{number:04d}.jpg")
    return folder


def config(raw: Path, out: Path, source: str = "ncaltech101", **values: Any) -> ConvertConfig:
    folder = raw / ("events" if source == "ncaltech101" else "images")
    return ConvertConfig.model_validate(
        {
            "source": source,
            "raw": folder,
            "out": out,
            "frames": {"num_bins": 4, "size": 16},
            "images": {"size": 16},
            "conversion": {"samples_per_shard": 4},
            **values,
        }
    )


def convert(raw: Path, out: Path, source: str = "ncaltech101", **values: Any) -> ConversionReport:
    return conversion.run(config(raw, out, source, **values))


def contents(store: Path) -> dict[str, bytes]:
    """Every file but the root's metadata, which carries the time of writing."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path != store / "zarr.json"
    }
