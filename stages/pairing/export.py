"""A split as a list for others, and for `pairing.split_file`."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from ...cache import durable
from ...cache.pairs import SPLIT_CODES, PairStore
from ..pairing_config import PairingConfig


@dataclass(frozen=True)
class ExportReport:
    """What was written: how many recordings of each part.

    settings: what else of the pairing's configuration makes the same split of the list again.
    """

    path: Path
    protocol: str
    split_digest: str
    num_train: int
    num_validation: int
    num_test: int
    num_novel: int
    settings: str


def run(pairs_path: Path, out: Path) -> ExportReport:
    """Write the recordings of each split of a pair store, by id, to the CSV file `out`: columns sample and part.

    Raises StoreError: no pair store, or a damaged one.
    """
    pairs = PairStore(pairs_path)
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("sample", "part"))
    counts = {}
    for split in SPLIT_CODES:
        names = sorted(map(str, pairs.events.sample_id[pairs.rows_of(split)]))
        lines.writerows((name, split) for name in names)
        counts[split] = len(names)
    out.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out, text.getvalue().encode())
    return ExportReport(
        path=out,
        protocol=pairs.protocol,
        split_digest=pairs.description.split_digest,
        **{f"num_{split}": count for split, count in counts.items()},
        settings=_settings(PairingConfig.model_validate(pairs.description.pairing), counts["validation"]),
    )


def _settings(config: PairingConfig, num_validation: int) -> str:
    """What the list does not say: novel classes, which photos may teach, and that nothing validates; where unusual."""
    told = {
        "train",
        "validation",
        "test",
        "train_share",
        "train_per_class",
        "subset_seed",
        "split",
        "split_file",
        "group",
    }
    found, usual = (each.model_dump(mode="json", exclude=told) for each in (config, PairingConfig()))
    others = {key: value for key, value in found.items() if value != usual[key]}
    if not num_validation:
        others["validation"] = 0
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in others.items()) or "none"
