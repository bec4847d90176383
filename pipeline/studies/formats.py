"""A table as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
from typing import Any

from ...cache.pairs import Reach
from ...stages.evaluation.statistics import Interval, MeanAndStd
from ...stages.runs.checkpoint import CheckpointName
from .table import DASH, Comparison, Table, TableRow

_METRICS = {"top1": "top-1", "mean_class_accuracy": "mean per class"}
MARKS: dict[Reach | None, str] = {"some": " (leaky)", "unknown": " (leakage unknown)"}
MINUS = "\N{MINUS SIGN}"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    MINUS: "$-$",
    DASH: "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def to_markdown(table: Table) -> str:
    """A table under its title, with its notes below."""
    head, *body = _lines([_texts(table, row) for row in table.rows])
    escaped = r"\|"
    align = ["---" if index < len(table.axes) else "---:" for index in range(len(head))]
    lines = [f"| {' | '.join(cell.replace('|', escaped) for cell in line)} |" for line in (head, align, *body)]
    return "\n".join([f"**{table.title}**", "", *lines, "", *(f"- {note}" for note in table.notes), ""])


def to_latex(table: Table) -> str:
    """A `table` environment; needs the package booktabs."""
    head, *body = _lines([_texts(table, row) for row in table.rows])
    lines = [" & ".join(map(_escape, line)) + r" \\" for line in (head, *body)]
    columns = "l" * len(table.axes) + "r" * (len(head) - len(table.axes))
    above = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
    ]
    inner = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    notes = [r"\par\raggedright\footnotesize", *(rf"{_escape(note)}\par" for note in table.notes)]
    return "\n".join([*above, *inner, *notes, r"\end{table}", ""])


def to_csv(table: Table) -> str:
    """Numbers in per cent and points, a column for each; empty where there is none."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(_lines([_record(table, row) for row in table.rows]))
    return out.getvalue()


def _record(table: Table, row: TableRow) -> list[tuple[str, Any]]:
    """The columns of CSV, and what a row has there. Axes may be called as other columns are."""
    record: list[tuple[str, Any]] = [*row.labels.items(), ("n", row.num_done), ("num_seeds", row.num_seeds)]
    record += [("train_labels", row.seen.train), ("selection_labels", row.seen.selection)]
    for column in table.columns:
        spread = row.accuracies.get(column)
        record += [(f"{column}_{name}", _number(getattr(spread, name, None))) for name in ("mean", "std")]
        record += _bounds(f"{column}_", getattr(spread, "interval", None)).items()
    for baseline, comparison in zip(table.baselines, row.comparisons, strict=True):
        for checkpoint in table.checkpoints:
            found = comparison.differences.get(checkpoint)
            p = getattr(found, "p", None)
            values = {
                "difference": _number(getattr(found, "difference", None)),
                "n": getattr(found, "n", None),
                **_bounds("", getattr(found, "draws", None)),
                "p": None if p is None else f"{p:.6g}",
                **_bounds("recordings_", getattr(found, "recordings", None)),
            }
            record += [(f"{checkpoint}_{name}_to_{baseline}", value) for name, value in values.items()]
        record.append((f"verdict_to_{baseline}", comparison.verdict))
    record += [(f"published_{n}", _number(row.published.get(n))) for n in range(1, len(table.sources) + 1)]
    record += [("data", table.data), ("photos_in_reach", row.photos_in_reach), ("selection", row.selection)]
    record += [("way", row.way)]
    reaches = {n: row.published_reach.get(n) for n in range(1, len(table.sources) + 1)}
    return [*record, *((f"published_{n}_photos_in_reach", reach) for n, reach in reaches.items())]


def _bounds(prefix: str, interval: Interval | None) -> dict[str, str]:
    return {f"{prefix}{end}": _number(getattr(interval, end, None)) for end in ("low", "high")}


def _lines(rows: list[list[tuple[str, Any]]]) -> list[list[Any]]:
    """The heads of the columns, then what each row has there."""
    return [[head for head, _ in rows[0]], *([value for _, value in row] for row in rows)]


def _texts(table: Table, row: TableRow) -> list[tuple[str, str]]:
    """Head and text of each column."""
    labels = list(row.labels.values())
    labels[-1] += MARKS.get(row.photos_in_reach, "")
    done = str(row.num_done) if row.num_done == row.num_seeds else f"{row.num_done} of {row.num_seeds}"
    seen = "not known" if row.num_done else "missing"
    if row.seen.train is not None and row.seen.selection is not None:
        seen = f"{row.seen.train:,}" + (f" + {row.seen.selection:,}" if row.seen.selection else "")
    texts = [*zip(table.axes, labels, strict=True), ("n", done), ("labels seen", seen)]
    for column in table.columns:
        metric, _, checkpoint = column.rpartition("_")
        texts.append((f"{_METRICS[metric]}, {checkpoint}", _spread(row.accuracies.get(column))))
    for name, comparison in zip(table.baselines, row.comparisons, strict=True):
        texts += [
            (f"{checkpoint}, less {name}", _difference(row, comparison, checkpoint)) for checkpoint in table.checkpoints
        ]
        texts.append(("verdict", (comparison.verdict or DASH) if comparison.differences else ""))
    if table.sources:
        published = ", ".join(
            f"{100 * top1:.2f} [{number}]{MARKS.get(row.published_reach[number], ' (clean)')}"
            for number, top1 in row.published.items()
        )
        texts.append(("published", published))
    return texts


def _spread(spread: MeanAndStd | None) -> str:
    if spread is None:
        return "missing"
    return f"{100 * spread.mean:.1f}" + ("" if spread.std is None else f" ± {100 * spread.std:.1f}")


def _difference(row: TableRow, comparison: Comparison, checkpoint: CheckpointName) -> str:
    found = comparison.differences.get(checkpoint)
    if found is not None:
        recordings = "" if found.draws is None else f" (rec. {_interval(found.recordings)})"
        fewer = f" (n {found.n})" if found.n < row.num_done else ""
        return f"{_points(found.difference)} {_interval(found.draws)}{recordings}{fewer}"
    if not comparison.baseline:
        return ""
    return "not comparable" if comparison.shared else "missing"


def _interval(interval: Interval | None) -> str:
    return f"[{DASH}]" if interval is None else f"[{_points(interval.low)}, {_points(interval.high)}]"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", MINUS)


def _number(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4f}"


def _escape(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return f"{{}}{escaped}" if text.startswith("[") else escaped  # it would be an argument of the line before
