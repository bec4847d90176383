"""A table as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io

from ...cache.pairs import Reach
from ...stages.evaluation.statistics import MeanAndStd
from .table import Comparison, Table, TableRow

_COLUMNS = {
    "top1_best": "top-1, best",
    "top1_last": "top-1, last",
    "mean_class_accuracy_best": "mean per class, best",
    "mean_class_accuracy_last": "mean per class, last",
}
_MARKS: dict[Reach | None, str] = {"some": " (leaky)", "unknown": " (leakage unknown)"}
MINUS = "\N{MINUS SIGN}"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    MINUS: "$-$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def to_markdown(table: Table) -> str:
    """A table under its title, with its notes below."""
    head, *body = _cells(table)
    align = ["---" if index < len(table.axes) else "---:" for index in range(len(head))]
    lines = [
        " | ".join(["", *(cell.replace("|", r"\|") for cell in line), ""]).strip() for line in (head, align, *body)
    ]
    return "\n".join([f"**{table.title}**", "", *lines, "", *(f"- {note}" for note in table.notes), ""])


def to_latex(table: Table) -> str:
    """A `table` environment; needs the package booktabs."""
    head, *body = _cells(table)
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
    writer = csv.writer(out, lineterminator="\n")
    figures = [f"{column}_{part}" for column in table.columns for part in ("mean", "std")]
    bounds = [f"{part}_to_{name}" for name in table.baselines for part in ("difference", "low", "high")]
    published = [f"published_{number}" for number in range(1, len(table.sources) + 1)]
    writer.writerow(
        [*table.axes, "n", "num_seeds", *figures, *bounds, *published, "data", "photos_in_reach", "selection"]
    )
    for row in table.rows:
        spreads = [row.accuracies.get(column) for column in table.columns]
        numbers = [getattr(spread, part, None) for spread in spreads for part in ("mean", "std")]
        found = [comparison.difference for comparison in row.comparisons]
        numbers += [getattr(difference, part, None) for difference in found for part in ("difference", "low", "high")]
        numbers += [row.published.get(number) for number in range(1, len(table.sources) + 1)]
        marks = [table.data, row.photos_in_reach or "", row.selection]
        writer.writerow([*row.labels.values(), row.num_done, row.num_seeds, *map(_number, numbers), *marks])
    return out.getvalue()


def _cells(table: Table) -> list[list[str]]:
    """The table as texts, its head first."""
    head = [*table.axes, "n", *(_COLUMNS[column] for column in table.columns)]
    head += [f"less {name}" for name in table.baselines]
    return [head + ["published"] * bool(table.sources), *(_line(table, row) for row in table.rows)]


def _line(table: Table, row: TableRow) -> list[str]:
    labels = list(row.labels.values())
    labels[-1] += _MARKS.get(row.photos_in_reach, "")
    done = str(row.num_done) if row.num_done == row.num_seeds else f"{row.num_done} of {row.num_seeds}"
    line = [*labels, done, *(_spread(row.accuracies.get(column)) for column in table.columns)]
    line += [_difference(row, comparison) for comparison in row.comparisons]
    if table.sources:
        line.append(", ".join(f"{100 * top1:.2f} [{number}]" for number, top1 in row.published.items()))
    return line


def _spread(spread: MeanAndStd | None) -> str:
    if spread is None:
        return "missing"
    return f"{100 * spread.mean:.1f}" + ("" if spread.std is None else f" ± {100 * spread.std:.1f}")


def _difference(row: TableRow, comparison: Comparison) -> str:
    at = comparison.difference
    if at is not None:
        return f"{_points(at.difference)} [{_points(at.low)}, {_points(at.high)}]"
    if not comparison.baseline:
        return ""
    return "not comparable" if row.accuracies else "missing"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", MINUS)


def _number(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4f}"


def _escape(text: str) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return f"{{}}{escaped}" if text.startswith("[") else escaped  # it would be an argument of the line before
