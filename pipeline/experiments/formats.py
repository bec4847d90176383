"""A table as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io

from ...cache.pairs import Reach
from ...stages.evaluation.statistics import Interval, MeanAndStd
from ...stages.runs.checkpoint import CheckpointName
from .table import DASH, Comparison, Table, TableRow

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
    DASH: "--",
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
    spread = ("mean", "std", "low", "high")
    figures = [f"{column}_{part}" for column in table.columns for part in spread]
    bounds = [
        f"{part}_to_{name}"
        for name in table.baselines
        for part in (
            *(f"{checkpoint}_{part}" for checkpoint in table.checkpoints for part in _DIFFERENCE),
            "verdict",
        )
    ]
    published = [f"published_{number}" for number in range(1, len(table.sources) + 1)]
    counts = ["n", "num_seeds", "train_labels", "selection_labels"]
    writer.writerow([*table.axes, *counts, *figures, *bounds, *published, "data", "photos_in_reach", "selection"])
    for row in table.rows:
        seen = [row.num_done, row.num_seeds, row.seen.train, row.seen.selection]
        numbers = [number for column in table.columns for number in _numbers(row.accuracies.get(column))]
        found = [text for comparison in row.comparisons for text in _bounds(table, comparison)]
        figures = [_number(row.published.get(number)) for number in range(1, len(table.sources) + 1)]
        marks = [table.data, row.photos_in_reach or "", row.selection]
        writer.writerow([*row.labels.values(), *seen, *numbers, *found, *figures, *marks])
    return out.getvalue()


# Of each checkpoint, in points, but for n and p.
_DIFFERENCE = ("difference", "n", "low", "high", "p", "recordings_low", "recordings_high")


def _numbers(spread: MeanAndStd | None) -> list[str]:
    if spread is None:
        return [""] * 4
    low, high = (None, None) if spread.interval is None else (spread.interval.low, spread.interval.high)
    return [_number(value) for value in (spread.mean, spread.std, low, high)]


def _bounds(table: Table, comparison: Comparison) -> list[str]:
    texts = []
    for checkpoint in table.checkpoints:
        found = comparison.differences.get(checkpoint)
        if found is None:
            texts += [""] * len(_DIFFERENCE)
            continue
        bounds = [
            _number(bound)
            for interval in (found.draws, found.recordings)
            for bound in ((None, None) if interval is None else (interval.low, interval.high))
        ]
        p = "" if found.p is None else f"{found.p:.6g}"
        texts += [_number(found.difference), str(found.n), *bounds[:2], p, *bounds[2:]]
    return [*texts, comparison.verdict or ""]


def _cells(table: Table) -> list[list[str]]:
    """The table as texts, its head first."""
    head = [*table.axes, "n", "labels seen", *(_COLUMNS[column] for column in table.columns)]
    for name in table.baselines:
        head += [*(f"{checkpoint}, less {name}" for checkpoint in table.checkpoints), "verdict"]
    return [head + ["published"] * bool(table.sources), *(_line(table, row) for row in table.rows)]


def _line(table: Table, row: TableRow) -> list[str]:
    labels = list(row.labels.values())
    labels[-1] += _MARKS.get(row.photos_in_reach, "")
    done = str(row.num_done) if row.num_done == row.num_seeds else f"{row.num_done} of {row.num_seeds}"
    line = [*labels, done, _seen(row), *(_spread(row.accuracies.get(column)) for column in table.columns)]
    for comparison in row.comparisons:
        line += [_difference(row, comparison, checkpoint) for checkpoint in table.checkpoints]
        line.append((comparison.verdict or DASH) if comparison.differences else "")
    if table.sources:
        line.append(", ".join(f"{100 * top1:.2f} [{number}]" for number, top1 in row.published.items()))
    return line


def _seen(row: TableRow) -> str:
    if row.seen.train is None or row.seen.selection is None:
        return "not known" if row.num_done else "missing"
    return f"{row.seen.train:,}" + (f" + {row.seen.selection:,}" if row.seen.selection else "")


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
