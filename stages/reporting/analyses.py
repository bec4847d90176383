"""What the analyses of the runs found, with a sentence on how to read each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..analysis.catalogue import ANALYSES
from ..analysis.results import AnalysisReport
from .figures import to_svg
from .groups import Group, members, run_label
from .records import RunRecord
from .setup import Fact

# Title and how to read it.
READING = {
    "activity": (
        "Activity and energy",
        "A firing rate of 0.1 is one spike in ten time steps for each neuron; the energy counts arithmetic alone, so "
        "compare it between networks, not with a device.",
    ),
    "alignment": (
        "Alignment of the domains",
        "CKA is 0 where recordings and images cause unrelated activity and 1 where it is the same up to rotation and "
        "scale; what rose from before to after training is what the transfer aligned.",
    ),
    "embedding": (
        "Embedding of the aligned features",
        "Left, each class should be a cluster of its own, and right, recordings and images should mix in it; distances "
        "between far clusters and the sizes of clusters mean nothing in t-SNE.",
    ),
    "grad-cam": (
        "Grad-CAM",
        "Bright regions are those whose activity raised the score of the explained class; the time steps of a row can "
        "be compared, different rows and the mean cannot.",
    ),
    "landscape": (
        "Loss landscape",
        "The trained weights lie at the centre, and a wide, even basin stands for a loss that changes little with the "
        "weights; directions are as long as each filter, so landscapes of different runs can be compared.",
    ),
}
_WORDS = {"uj": "(µJ)", "snn": "SNN", "ann": "ANN", "macs": "MACs", "acs": "ACs", "kl": "KL"}


@dataclass(frozen=True)
class Figure:
    """A drawn result of one run. caption: what it was made of."""

    run: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class AnalysisSection:
    """labels: the runs that have a result, columns of `facts`. missing: commands that make the results of others."""

    name: str
    title: str
    reading: str
    labels: tuple[str, ...]
    facts: list[Fact]
    notes: list[str]
    figures: list[Figure]
    missing: list[str]


def describe_analyses(groups: Sequence[Group]) -> list[AnalysisSection]:
    """Every analysis: its numbers for each run, and the picture of the first run of each group."""
    with_images = any(record.has_images for _, _, record in members(groups))
    return [_section(name, groups) for name, analysis in ANALYSES.items() if with_images or not analysis.needs_images]


def _section(name: str, groups: Sequence[Group]) -> AnalysisSection:
    runs = [(run_label(group, record), record) for _, group, record in members(groups)]
    found = [(label, record, record.analyses[name][0]) for label, record in runs if name in record.analyses]
    drawn = [next((record for record in group.runs if name in record.analyses), None) for group in groups]
    title, reading = READING[name]
    return AnalysisSection(
        name=name,
        title=title,
        reading=reading,
        labels=tuple(label for label, _, _ in found),
        facts=_facts([report for _, _, report in found]),
        notes=[f"{label}: {note}" for label, record, report in found for note in _notes(record, report)],
        figures=[
            _figure(name, number, group, record)
            for number, (group, record) in enumerate(zip(groups, drawn, strict=True))
            if record is not None
        ],
        missing=[f"dvs-transfer analyse {name} {record.folder}" for _, record in runs if name not in record.analyses],
    )


def _facts(reports: Sequence[AnalysisReport]) -> list[Fact]:
    """The numbers and texts that are this analysis' own, each with its unit and what it is."""
    if not reports:
        return []
    fields = {
        name: field for name, field in type(reports[0]).model_fields.items() if name not in AnalysisReport.model_fields
    }
    rows = {name: [getattr(report, name) for report in reports] for name in fields}
    facts = []
    for name, values in rows.items():
        if all(value is None or isinstance(value, int | float | str) for value in values):
            texts = tuple(map(_text, values))
            facts.append(
                Fact(_label(name), texts[:1] if len(set(texts)) == 1 else texts, fields[name].description or "")
            )
    return facts


def _text(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _label(name: str) -> str:
    """`snn_energy_uj` as "SNN energy (µJ)"."""
    words = [_WORDS.get(word, word) for word in name.removeprefix("num_").split("_")]
    return " ".join(words)


def _notes(record: RunRecord, report: AnalysisReport) -> list[str]:
    """What the analysis says itself, and whether it looked at other weights than those that were evaluated."""
    evaluated = next(iter(record.evaluated.values())).report
    notes = [report.note] if report.note else []
    if (report.checkpoint, report.epoch) != (evaluated.checkpoint, evaluated.epoch):
        notes.append(
            f"made of the {report.checkpoint} weights of epoch {report.epoch}; "
            f"the results above are of the {evaluated.checkpoint} weights of epoch {evaluated.epoch}"
        )
    return notes


def _figure(name: str, number: int, group: Group, record: RunRecord) -> Figure:
    report, arrays = record.analyses[name]
    title, _ = READING[name]
    label = run_label(group, record)
    caption = f"{report.num_recordings:,} {report.split} recordings, {report.checkpoint} weights (epoch {report.epoch})"
    figure = ANALYSES[name].draw(report, arrays)
    return Figure(label, caption, to_svg(figure, f"{name}{number}", f"{title} of {label}; {caption}"))
