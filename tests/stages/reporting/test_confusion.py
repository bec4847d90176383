"""Confusion matrices and class tables with few and with many classes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dvs_transfer.stages.evaluation.results import ClassAccuracy
from dvs_transfer.stages.reporting.records import Group
from dvs_transfer.stages.reporting.results import class_tables, confusion_of


def make_group(*matrices: Any) -> Group:
    """A group with a run for each matrix; no more of it than these functions read."""
    runs = []
    for counts in map(np.asarray, matrices):
        totals = counts.sum(1)
        classes = [
            ClassAccuracy(name=f"class {label}", num_samples=int(total), accuracy=_share(counts[label, label], total))
            for label, total in enumerate(totals)
        ]
        report = SimpleNamespace(confusion=counts.tolist(), classes=classes)
        runs.append(SimpleNamespace(evaluated={"test": SimpleNamespace(report=report)}))
    return Group("x", "", tuple(runs))  # type: ignore[arg-type]


def _share(right: Any, total: Any) -> float | None:
    return float(right / total) if total else None


def test_cells_count_all_runs_together_and_empty_ones_are_left_out() -> None:
    matrix = confusion_of(make_group([[3, 1], [0, 0]], [[2, 2], [0, 0]]), "test")
    assert [(cell.row, cell.column, cell.count, cell.share) for cell in matrix.cells] == [
        (0, 0, 5, 5 / 8),
        (0, 1, 3, 3 / 8),
    ]
    assert (matrix.counts.trace(), matrix.counts.sum(), matrix.num_runs) == (5, 8, 2)


def test_most_confused_pairs_are_the_largest_and_equal_ones_stand_in_label_order() -> None:
    confusion = confusion_of(make_group([[5, 1, 4], [1, 9, 0], [0, 4, 0]]), "test")
    assert confusion.class_names == ("class 0", "class 1", "class 2")
    pairs = confusion.most_confused
    assert [(pair.row, pair.column, pair.count) for pair in pairs] == [(0, 2, 4), (2, 1, 4), (0, 1, 1), (1, 0, 1)]
    assert pairs[0].share == pytest.approx(0.4)


def test_classes_have_the_mean_of_the_runs_and_support() -> None:
    first, second = make_group([[4, 0], [0, 0]], [[2, 2], [0, 0]]), make_group([[1, 3], [0, 0]])
    (rows,) = class_tables([first, second], "test")
    assert [(row.name, row.num_samples, row.accuracies) for row in rows] == [
        ("class 0", 4, (0.75, 0.25)),
        ("class 1", 0, (None, None)),
    ]


def test_101_classes_fit_in_a_matrix_with_labels_and_in_short_tables() -> None:
    group = make_group(np.diag(np.full(101, 7)))
    matrix = confusion_of(group, "test")
    assert not matrix.is_numbered
    assert matrix.size["margin"] + matrix.size["side"] < 1170  # of a page of 1280 pixels
    assert matrix.size["cell"] > matrix.size["font"] >= 9
    tables = class_tables([group], "test")
    assert [len(rows) for rows in tables] == [34, 34, 33]
