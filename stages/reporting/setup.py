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
from ..runs.history import TrainingPeriod
from .groups import Group, members, run_label
from .records import Evaluated, RunRecord

SHORT_DIGEST = 12


@dataclass(frozen=True)
class Caution:
    """Something that a reader must know before any number. runs: whom it is about; empty: all."""

    title: str
    text: str
    runs: str


@dataclass(frozen=True)
class Fact:
    """One line of a table with a column for each run; `values` has one entry where all are the same."""

    name: str
    values: tuple[str, ...]
    hint: str = ""


@dataclass(frozen=True)
class Setup:
    """The whole section. history: with the run's label; unrecorded: runs without. configurations: JSON, by group."""

    labels: tuple[str, ...]
    facts: list[Fact]
    history: list[tuple[str, TrainingPeriod]]
    unrecorded: str
    stores: list[StoreAttributes]
    configurations: list[tuple[str, str]]


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


def find_cautions(groups: Sequence[Group]) -> list[Caution]:
    """Photos that were in reach of training, or may have been, and epochs chosen on the test recordings."""
    found: dict[tuple[str, str], list[str]] = {}
    for _, group, record in members(groups):
        for evaluated in record.evaluated.values():
            report = evaluated.report
            if report.photos_in_reach != "none":
                unknown = _IMPORTED if report.method == "imported" else _NOT_KNOWN
                text = _LEAKY if report.photos_in_reach == "some" else unknown
                found.setdefault(text, []).append(run_label(group, record))
            if report.selection == "test_as_released":
                text = (
                    "Epoch chosen on the test recordings",
                    "As in the released code, the best epoch was picked by its accuracy on the test recordings, which "
                    "flatters the result.",
                )
                found.setdefault(text, []).append(run_label(group, record))
    several = sum(len(group.runs) for group in groups) > 1
    return [
        Caution(title, text, "; ".join(dict.fromkeys(runs)) if several else "") for (title, text), runs in found.items()
    ]


def describe_setup(groups: Sequence[Group]) -> Setup:
    runs = [(run_label(group, record), record) for _, group, record in members(groups)]
    columns = [_facts(record) for _, record in runs]
    facts = []
    for name in columns[0]:
        values = tuple(column[name] for column in columns)
        facts.append(Fact(name, values[:1] if len(set(values)) == 1 else values))
    return Setup(
        labels=tuple(label for label, _ in runs),
        facts=facts,
        history=[(label, period) for label, record in runs for period in record.history],
        unrecorded="; ".join(label for label, record in runs if not record.history),
        stores=_stores([record for _, record in runs]),
        configurations=[
            (group.label, json.dumps(group.runs[0].document, indent=1, ensure_ascii=False)) for group in groups
        ],
    )


def _facts(record: RunRecord) -> dict[str, str]:
    evaluated = next(iter(record.evaluated.values()))
    report, pairs = evaluated.report, evaluated.split.pairs
    settings = record.settings
    train, model, pairing = (settings.get(section) or {} for section in ("train", "model", "pairing"))
    taught = "without images"
    images = "none"
    if pairs.images is not None:
        taught = f"taught by {pairs.images.attributes.dataset}"
        images = f"{len(pairs.images):,}, of which {len(pairs.store.column('pool_rows')):,} may teach"
    return {
        "run folder": record.name,
        "method": _method(record, report),
        "seed": _text(train.get("seed")),
        "network": _text(model.get("name")),
        "data": f"{pairs.events.attributes.dataset} {taught}, {report.num_classes} classes",
        "recordings": _count_recordings(evaluated),
        "images": images,
        "frames": f"{evaluated.split.num_bins} time bins of {evaluated.split.size} x {evaluated.split.size} pixels",
        "protocol": report.protocol,
        "photos of held-out recordings in reach": report.photos_in_reach,
        "split": f"digest {report.split_digest[:SHORT_DIGEST]}, seed {_text(pairing.get('seed'))}",
        "labels seen": _count_labels(report),
        "epochs": f"{report.epoch} of {_text(train.get('epochs'))} ({report.checkpoint})",
        "batch": _text(train.get("batch_size")),
        "epoch chosen by": report.selection,
        "weights": report.weights_digest[: SHORT_DIGEST + len("xxh3:")],
    }


def _method(record: RunRecord, report: EvaluationReport) -> str:
    imported = record.document.get("imported")
    return report.method if imported is None else f"imported from {Path(imported).name}"


def _text(value: Any) -> str:
    return "not known" if value is None else str(value)


def _count_recordings(evaluated: Evaluated) -> str:
    codes = evaluated.split.pairs.store.column("split")
    counts = {name: np.count_nonzero(codes == code) for name, code in SPLIT_CODES.items()}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name != "novel")


def _count_labels(report: EvaluationReport) -> str:
    """Of recordings, in all classes."""
    if report.train_labels is None or report.selection_labels is None:
        return "not known"
    chose = f", and {report.selection_labels:,} that chose the epoch of best" if report.selection_labels else ""
    return f"{report.train_labels:,} that trained{chose}"


def _stores(records: Sequence[RunRecord]) -> list[StoreAttributes]:
    found: dict[str, StoreAttributes] = {}
    for record in records:
        pairs = next(iter(record.evaluated.values())).split.pairs
        for store in (pairs.events, pairs.images, pairs.store):
            if store is None:
                continue
            found.setdefault(store.attributes.fingerprint, store.attributes)
    return list(found.values())
