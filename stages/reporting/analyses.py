"""What the analyses of the runs found, with a sentence on how to read each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..analysis.catalogue import ANALYSES
from ..analysis.results import Analysis, AnalysisReport, Arrays
from .figures import to_svg
from .records import Group, RunRecord, labelled
from .setup import Fact, fact

# `snn_energy_uj` is called "SNN energy (µJ)".
_WORDS = {"uj": "(µJ)", "snn": "SNN", "ann": "ANN", "macs": "MACs", "acs": "ACs", "kl": "KL"}


def describe_analyses(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Every analysis with a picture: its numbers for each run, and the picture of the first run of each group.

    labels: the runs that have a result, columns of `facts`. missing: commands that make the results of others.
    """
    runs = labelled(groups)
    with_images = any(record.first.split.has_images for _, record in runs)
    sections = []
    for name, analysis in ANALYSES.items():
        if analysis.draw is None or (analysis.needs_images and not with_images):
            continue
        found = [(label, record, record.analyses[name][0]) for label, record in runs if name in record.analyses]
        sections.append(
            {
                "title": analysis.title,
                "reading": analysis.reading,
                "labels": [label for label, *_ in found],
                "facts": _facts([report for *_, report in found]),
                "notes": [f"{label}: {note}" for label, record, report in found for note in _notes(record, report)],
                "figures": [
                    _figure(analysis, f"{name}{number}", group.label_of(record), *record.analyses[name])
                    for number, group in enumerate(groups)
                    for record in [record for record in group.runs if name in record.analyses][:1]
                ],
                "missing": [
                    f"dvs-transfer analyse {name} {record.folder}" for _, record in runs if name not in record.analyses
                ],
            }
        )
    return sections


def _facts(reports: Sequence[AnalysisReport]) -> list[Fact]:
    """The numbers and texts that are this analysis' own, each with its unit and what it is."""
    if not reports:
        return []
    facts = []
    for name, field in type(reports[0]).model_fields.items():
        values = [getattr(report, name) for report in reports]
        is_own = name not in AnalysisReport.model_fields
        if is_own and all(value is None or isinstance(value, int | float | str) for value in values):
            words = [_WORDS.get(word, word) for word in name.removeprefix("num_").split("_")]
            facts.append(fact(" ".join(words), [_text(value) for value in values], field.description or ""))
    return facts


def _text(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _notes(record: RunRecord, report: AnalysisReport) -> list[str]:
    """What the analysis says itself, and whether it looked at other weights than those that were evaluated."""
    evaluated = record.first.report
    notes = [report.note] if report.note else []
    if (report.checkpoint, report.epoch) != (evaluated.checkpoint, evaluated.epoch):
        notes.append(
            f"made of the {report.checkpoint} weights of epoch {report.epoch}; "
            f"the results above are of the {evaluated.checkpoint} weights of epoch {evaluated.epoch}"
        )
    return notes


def _figure(analysis: Analysis, name: str, label: str, report: AnalysisReport, arrays: Arrays) -> dict[str, Any]:
    caption = f"{report.num_recordings:,} {report.split} recordings, {report.checkpoint} weights (epoch {report.epoch})"
    assert analysis.draw is not None
    svg = to_svg(analysis.draw(report, arrays), name, f"{analysis.title} of {label}; {caption}")
    return {"run": label, "caption": caption, "svg": svg}
