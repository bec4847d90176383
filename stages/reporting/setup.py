"""What was run: settings, data, protocol, machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.pairs import SPLIT_CODES
from ...cache.schema import StoreAttributes
from ..evaluation.results import EvaluationReport
from .records import Group, RunRecord, labelled

SHORT_DIGEST = 12


@dataclass(frozen=True)
class Fact:
    """One line of a table with a column for each run; `values` has one entry where all are the same."""

    name: str
    values: tuple[str, ...]
    hint: str = ""


def fact(name: str, values: Sequence[str], hint: str = "") -> Fact:
    return Fact(name, tuple(values[:1] if len(set(values)) == 1 else values), hint)


# What a reader must know before any number: a title and a text.
_LEAKY = (
    "Leaky: photos of held-out recordings taught the network",
    "Photos of validation, test or novel recordings, or copies of them, were in the static pool. The figures are no "
    "measure of generalisation; compare with a run under the protocol disjoint.",
)
_NOT_KNOWN = (
    "Not known: photos of held-out recordings",
    "Of some validation, test or novel recordings it is not known which photo they show, so it may have been in the "
    "static pool and have taught the network. `dvs-transfer audit` lists what is known.",
)
_IMPORTED = (
    "Protocol unknown: imported weights",
    "They were trained elsewhere: evaluated recordings, or photos of them, may have taught the network. The "
    "figures are no measure of generalisation.",
)
_CHOSEN_ON_TEST = (
    "Epoch chosen on the test recordings",
    "As in the released code, the best epoch was picked by its accuracy on the test recordings, which flatters the "
    "result.",
)


def find_cautions(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Photos that were in reach of training, or may have been, and epochs chosen on the test recordings.

    runs: whom it is about; empty where there is one alone.
    """
    runs = labelled(groups)
    found: dict[tuple[str, str], list[str]] = {}
    for label, record in runs:
        for evaluated in record.evaluated.values():
            report = evaluated.report
            if report.photos_in_reach != "none":
                unknown = _IMPORTED if report.method == "imported" else _NOT_KNOWN
                found.setdefault(_LEAKY if report.photos_in_reach == "some" else unknown, []).append(label)
            if report.selection == "test_as_released":
                found.setdefault(_CHOSEN_ON_TEST, []).append(label)
    return [
        {"title": title, "text": text, "runs": "; ".join(dict.fromkeys(labels)) if len(runs) > 1 else ""}
        for (title, text), labels in found.items()
    ]


def describe_setup(groups: Sequence[Group]) -> dict[str, Any]:
    """The whole section. history: with the run's label; unrecorded: runs without. configurations: JSON, by group."""
    runs = labelled(groups)
    columns = [_facts(record) for _, record in runs]
    return {
        "labels": [label for label, _ in runs],
        "facts": [fact(name, [column[name] for column in columns]) for name in columns[0]],
        "history": [(label, period) for label, record in runs for period in record.history],
        "unrecorded": "; ".join(label for label, record in runs if not record.history),
        "stores": list({store.fingerprint: store for _, record in runs for store in _stores(record)}.values()),
        "configurations": [
            (group.label, json.dumps(group.runs[0].document, indent=1, ensure_ascii=False)) for group in groups
        ],
    }


def _facts(record: RunRecord) -> dict[str, str]:
    report, split = record.first.report, record.first.split
    pairs = split.pairs
    train, model, pairing = (record.settings.get(section) or {} for section in ("train", "model", "pairing"))
    imported = record.document.get("imported")
    codes = pairs.store.column("split")
    counts = {name: np.count_nonzero(codes == code) for name, code in SPLIT_CODES.items()}
    taught, images = "without images", "none"
    if pairs.images is not None:
        taught = f"taught by {pairs.images.attributes.dataset}"
        images = f"{len(pairs.images):,}, of which {len(pairs.store.column('pool_rows')):,} may teach"
    return {
        "run folder": record.name,
        "method": report.method if imported is None else f"imported from {Path(imported).name}",
        "seed": _text(train.get("seed")),
        "network": _text(model.get("name")),
        "data": f"{pairs.events.attributes.dataset} {taught}, {report.num_classes} classes",
        "recordings": ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name != "novel"),
        "images": images,
        "frames": f"{split.num_bins} time bins of {split.size} x {split.size} pixels",
        "protocol": report.protocol,
        "photos of held-out recordings in reach": report.photos_in_reach,
        "split": f"digest {report.split_digest[:SHORT_DIGEST]}, seed {_text(pairing.get('seed'))}",
        "labels seen": _count_labels(report),
        "epochs": f"{report.epoch} of {_text(train.get('epochs'))} ({report.checkpoint})",
        "batch": _text(train.get("batch_size")),
        "epoch chosen by": report.selection,
        "weights": report.weights_digest[: SHORT_DIGEST + len("xxh3:")],
    }


def _text(value: Any) -> str:
    return "not known" if value is None else str(value)


def _count_labels(report: EvaluationReport) -> str:
    """Of recordings, in all classes."""
    if report.train_labels is None or report.selection_labels is None:
        return "not known"
    chose = f", and {report.selection_labels:,} that chose the epoch of best" if report.selection_labels else ""
    return f"{report.train_labels:,} that trained{chose}"


def _stores(record: RunRecord) -> list[StoreAttributes]:
    pairs = record.first.split.pairs
    return [store.attributes for store in (pairs.events, pairs.images, pairs.store) if store is not None]
