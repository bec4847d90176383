"""What was run (settings, data, protocol, machines), what warns of it, and what the analyses of the runs found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...cache.errors import command_line
from ...cache.pairs import SPLIT_CODES
from ..analysis.catalogue import ANALYSES
from ..analysis.results import Analysis, AnalysisReport, name_weights
from ..runs.origin import origin_of, shows_photos
from .figures import to_svg
from .records import Group, RunRecord, labelled

SHORT_DIGEST = 12

# Of results, what is not drawn here: the series over the epochs are among the learning curves.
_SHOWN_ELSEWHERE = {"alignment": {"epochs": ()}}

# `snn_energy_uj` is called "SNN energy (µJ)".
_WORDS = {"uj": "(µJ)", "snn": "SNN", "ann": "ANN", "macs": "MACs", "acs": "ACs", "kl": "KL"}


class Fact(NamedTuple):
    """One line of a table with a column for each run; `values` has one entry where all are the same."""

    name: str
    values: tuple[str, ...]
    hint: str = ""


def fact(name: str, values: Sequence[str], hint: str = "") -> Fact:
    return Fact(name, tuple(values[:1] if len(set(values)) == 1 else values), hint)


def find_cautions(groups: Sequence[Group]) -> dict[str, str]:
    """The runs that the reader is to be warned of, by the kind of caution (texts: page.html): photos that were in reach
    of training, or may have been, and epochs chosen on the test recordings."""
    found: dict[str, list[str]] = {}
    for label, record in labelled(groups):
        for report in (evaluated.report for evaluated in record.evaluated.values()):
            if report.photos_in_reach != "none":
                unknown = "imported" if report.method == "imported" else "not_known"
                found.setdefault("leaky" if report.photos_in_reach == "some" else unknown, []).append(label)
            if report.selection == "test_as_released":
                found.setdefault("chosen_on_test", []).append(label)
    return {kind: "; ".join(dict.fromkeys(labels)) for kind, labels in found.items()}


def describe_setup(groups: Sequence[Group]) -> dict[str, Any]:
    """The whole section. history: with the run's label; unrecorded: runs without. configurations: JSON, by group."""
    runs = labelled(groups)
    columns = [_setup_of(record) for _, record in runs]
    pairs = [record.first.split.pairs for _, record in runs]
    joined = [store for of in pairs for store in (of.events, of.images, of.recorded, of.store)]
    stores = [store.attributes for store in joined if store is not None]
    return {
        "labels": [label for label, _ in runs],
        "facts": [fact(name, [column[name] for column in columns]) for name in columns[0]],
        "history": [(label, period) for label, record in runs for period in record.history],
        "unrecorded": "; ".join(label for label, record in runs if not record.history),
        "stores": list({store.fingerprint: store for store in stores}.values()),
        "configurations": [
            (group.label, json.dumps(group.runs[0].document, indent=1, ensure_ascii=False)) for group in groups
        ],
    }


def _setup_of(record: RunRecord) -> dict[str, str]:
    report, split = record.first.report, record.first.split
    pairs = split.pairs
    train, model, pairing = (record.settings.get(section) or {} for section in ("train", "model", "pairing"))
    imported = record.document.get("imported")
    simulated = " (simulated)" if origin_of(record.document) else ""
    codes = pairs.store.column("split")
    counts = {name: np.count_nonzero(codes == code) for name, code in SPLIT_CODES.items()}
    taught, images = "without images", "none"
    if pairs.images is not None and shows_photos(record.document):
        taught = f"taught by {pairs.images.attributes.dataset}"
        images = f"{len(pairs.images):,}, of which {len(pairs.store.column('pool_rows')):,} may teach"
    elif pairs.images is not None:
        images = f"{len(pairs.images):,}, of which none was shown"
    seen = "not known"
    if report.train_labels is not None and report.selection_labels is not None:
        chose = f", and {report.selection_labels:,} that chose the epoch of best" if report.selection_labels else ""
        beside = f"; beside them, without labels, {report.unlabelled}" if report.unlabelled else ""
        seen = f"{report.train_labels:,} that trained{chose}{beside}"
    which = "last epoch's weights" if report.holds("last") else report.checkpoint
    return {
        "run folder": record.name,
        "method": report.method if imported is None else f"imported from {Path(imported).name}",
        "seed": _text(train.get("seed")),
        "network": _text(model.get("name")),
        "data": f"{pairs.events.attributes.dataset}{simulated} {taught}, {report.num_classes} classes",
        "recordings": ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name != "novel"),
        "images": images,
        "frames": f"{split.num_bins} time bins of {split.size} x {split.size} pixels",
        "protocol": report.protocol,
        "photos of held-out recordings in reach": report.photos_in_reach,
        "split": f"digest {report.split_digest[:SHORT_DIGEST]}, seed {_text(pairing.get('seed'))}",
        "labels seen": seen,
        "epochs": f"{_text(report.epoch or None)} of {_text(train.get('epochs'))} ({which})",
        "batch": _text(train.get("batch_size")),
        "epoch chosen by": report.selection,
        "evaluated with": report.way,
        "weights": report.weights_digest[: SHORT_DIGEST + len("xxh3:")],
    }


def _text(value: Any) -> str:
    return "not known" if value is None else str(value)


def describe_analyses(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Every analysis with a picture: its numbers for each run, and the picture of the first run of each group.

    labels: the runs that have a result, columns of `facts`. missing: commands that make the results of others, of
    those whose data allow it.
    """
    runs = labelled(groups)
    sections = []
    for name, analysis in ANALYSES.items():
        if analysis.draw is None:
            continue
        figures = []
        for number, group in enumerate(groups):
            for record in [record for record in group.runs if name in record.analyses][:1]:
                run, (report, arrays) = group.label_of(record), record.analyses[name]
                weights = f"{weights_of(record, report)} (epoch {report.epoch})"
                caption = f"{report.num_recordings:,} {report.split} recordings, {weights}"
                drawn = analysis.draw(report.model_copy(update=_SHOWN_ELSEWHERE.get(name)), arrays)
                svg = to_svg(drawn, f"{name}{number}", f"{analysis.title} of {run}; {caption}")
                caveat = analysis.caveat(report, arrays) if analysis.caveat else ""
                figures.append({"run": run, "caption": caption, "svg": svg, "caveat": caveat})
        found = [(label, record, record.analyses[name][0]) for label, record in runs if name in record.analyses]
        missing = [record.folder for _, record in runs if name not in record.analyses and _allows(record, analysis)]
        sections.append(
            {
                "title": analysis.title,
                "reading": analysis.reading,
                "labels": [label for label, *_ in found],
                "facts": _facts([(record, report) for _, record, report in found]),
                "notes": [
                    f"{label}: {note}" if len(runs) > 1 else note[0].upper() + note[1:]
                    for label, record, report in found
                    for note in _notes(record, report)
                ],
                "figures": figures,
                "missing": [command_line("analyse", name, folder) for folder in missing],
            }
        )
    return sections


def _allows(record: RunRecord, analysis: Analysis) -> bool:
    """Whether the command for this analysis, as the report gives it, does not refuse the run."""
    split, network = record.first.split, (record.settings.get("model") or {}).get("name")
    looked_at = split.count("validation").sum() or split.count("train").sum()  # as the analyses choose by themselves
    return analysis.suits(split, network) and looked_at >= analysis.min_recordings


def weights_of(record: RunRecord, report: AnalysisReport) -> str:
    """The weights that were looked at, in words; of an earlier version's result the run's evaluation tells."""
    return name_weights(report.checkpoint, report.selection or record.first.report.selection)


def _facts(found: Sequence[tuple[RunRecord, AnalysisReport]]) -> list[Fact]:
    """The numbers and texts that are this analysis' own, each with its unit and what it is."""
    reports = [report for _, report in found]
    if not reports:
        return []
    facts = []
    if len(reports) > 1:  # a picture's caption says it of one
        of = [f"{report.num_recordings:,} {report.split}, {weights_of(record, report)}" for record, report in found]
        facts.append(fact("recordings", of, "what was looked at, and by which weights"))
        settings = [json.dumps(report.settings, sort_keys=True) for report in reports]
        if len(set(settings)) > 1:
            facts.append(fact("settings", settings, "numbers of other settings are not to be compared"))
    for name, field in type(reports[0]).model_fields.items():
        values = [getattr(report, name) for report in reports]
        is_own = name not in AnalysisReport.model_fields
        if is_own and all(value is None or isinstance(value, int | float | str) for value in values):
            words = [_WORDS.get(word, word) for word in name.removeprefix("num_").split("_")]
            facts.append(fact(" ".join(words), [_number(value) for value in values], field.description or ""))
    return facts


def _number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _notes(record: RunRecord, report: AnalysisReport) -> list[str]:
    """What the analysis says itself, and whether it looked at what was evaluated: the same weights, asked as usual."""
    evaluated = record.first.report
    notes = [report.note] if report.note else []
    looked_at = weights_of(record, report), report.epoch
    shown = name_weights(evaluated.checkpoint, evaluated.selection), evaluated.epoch
    if looked_at != shown:
        made, above = (f"{weights} (epoch {epoch})" for weights, epoch in (looked_at, shown))
        notes.append(f"made of the {made}; the results above are of the {above}")
    if way := evaluated.unusual_way:
        notes.append(
            f"made of the network as it was trained, which was evaluated in another way for the results above: {way}"
        )
    return notes
