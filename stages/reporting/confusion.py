"""Which classes are taken for which: the matrix, the pairs most often confused, each class's own accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation.results import EvaluatedSplit
from .groups import Group

MAX_PAIRS = 10
MAX_LABEL = 20  # characters
ROWS_IN_TABLE = 34

# Up to this many classes the cells are large enough for numbers.
MAX_NUMBERED = 20


@dataclass(frozen=True)
class Cell:
    """A cell with recordings in it. share: of the recordings of its class, in [0, 1]."""

    row: int
    column: int
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix to draw, lengths in pixels. cells: without empty ones."""

    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    cells: list[Cell]
    num_recordings: int
    num_right: int
    num_runs: int

    @property
    def is_numbered(self) -> bool:
        return len(self.class_names) <= MAX_NUMBERED

    @property
    def cell(self) -> int:
        return 32 if self.is_numbered else 10

    @property
    def font(self) -> int:
        return 11 if self.is_numbered else 9

    @property
    def margin(self) -> int:
        """Room for the labels: a character is about 0.6 of its height wide."""
        return round(0.6 * self.font * max(map(len, self.labels))) + 24

    @property
    def side(self) -> int:
        return self.cell * len(self.class_names)


@dataclass(frozen=True)
class ConfusedPair:
    """Recordings of `class_name` that were named `predicted`. share: of all recordings of the class."""

    class_name: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ClassRow:
    """A class with its accuracy in each group, mean of the runs; None: no recordings."""

    name: str
    num_samples: int
    accuracies: tuple[float | None, ...]


def confusion_of(group: Group, split: EvaluatedSplit) -> NDArray[np.int64]:
    """(C, C) recordings by class and predicted class, all runs together."""
    counts: NDArray[np.int64] = np.sum([record.evaluated[split].report.confusion for record in group.runs], axis=0)
    return counts


def make_matrix(group: Group, split: EvaluatedSplit) -> Matrix:
    counts = confusion_of(group, split)
    names = _class_names(group, split)
    totals = counts.sum(1)
    return Matrix(
        class_names=names,
        labels=tuple(name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 2] + ".." for name in names),
        cells=[
            Cell(int(row), int(column), int(counts[row, column]), float(counts[row, column] / totals[row]))
            for row, column in np.argwhere(counts)
        ],
        num_recordings=int(counts.sum()),
        num_right=int(np.trace(counts)),
        num_runs=len(group.runs),
    )


def most_confused(group: Group, split: EvaluatedSplit) -> list[ConfusedPair]:
    """The largest cells beside the diagonal, at most `MAX_PAIRS`; equal ones in label order."""
    counts = confusion_of(group, split)
    totals, names = counts.sum(1), _class_names(group, split)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        ConfusedPair(names[row], names[column], int(wrong[row, column]), float(wrong[row, column] / totals[row]))
        for row, column in places
        if wrong[row, column]
    ]


def class_tables(groups: Sequence[Group], split: EvaluatedSplit) -> list[list[ClassRow]]:
    """Every class, in label order, in tables of about equal length."""
    names = _class_names(groups[0], split)
    rows = []
    for label, name in enumerate(names):
        entries = [[record.evaluated[split].report.classes[label] for record in group.runs] for group in groups]
        accuracies = [[entry.accuracy for entry in of_group if entry.accuracy is not None] for of_group in entries]
        means = tuple(float(np.mean(values)) if values else None for values in accuracies)
        rows.append(ClassRow(name, entries[0][0].num_samples, means))
    length = -(-len(rows) // -(-len(rows) // ROWS_IN_TABLE))
    return [rows[first : first + length] for first in range(0, len(rows), length)]


def _class_names(group: Group, split: EvaluatedSplit) -> tuple[str, ...]:
    return tuple(entry.name for entry in group.runs[0].evaluated[split].report.classes)
