"""The table: its numbers from known outcomes, and its three forms held to files.

After a wanted change: python -m pytest tests/pipeline/experiments -k golden with WRITE_GOLDEN=1, then read the diff.
"""

from __future__ import annotations

import csv
import io
import os
import statistics
from pathlib import Path

import numpy as np
import pytest
from evaluations import evaluation_of

from dvs_transfer.pipeline.config import ExperimentConfig
from dvs_transfer.pipeline.experiments import table as tables
from dvs_transfer.pipeline.experiments.cells import load_experiment
from dvs_transfer.pipeline.experiments.formats import to_csv, to_latex, to_markdown
from dvs_transfer.pipeline.experiments.state import CellResult
from dvs_transfer.pipeline.experiments.table import Table, make_table
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages.evaluation.results import Predictions

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ("ant", "bee")
FILE = """
title = "Leaks & gains_1"
base = "configs/demo.toml"
data = "demo"
seeds = [1, 2, 3]

[[axis.way]]
label = "the method"

[[axis.way]]
label = "100 % of | $x_1$"
set = { train.loss.tet = false }

[[axis.way]]
label = "elsewhere"
set = { pairing.seed = 7, train.select = "last" }

[[axis.way]]
label = "not run"
set = { train.method = "events" }

[[axis.protocol]]
label = "disjoint"

[[axis.protocol]]
label = "unrestricted"
set = { pairing.protocol = "unrestricted" }

[[exclude]]
way = "not run"
protocol = "unrestricted"

[[exclude]]
way = "elsewhere"
protocol = "unrestricted"

[table]
baselines = [{ way = "the method" }]

[[table.published]]
source = "Somebody & others, 2024"
figures = [{ of = { way = "the method", protocol = "disjoint" }, top1 = 92.64 }]

[[table.published]]
source = "Others, 2025"
figures = [
    { of = { way = "the method", protocol = "disjoint" }, top1 = 97.1 },
    { of = { way = "not run", protocol = "disjoint" }, top1 = 79.66 },
]
"""
NUM_RECORDINGS = 20


def made_up(config: ExperimentConfig) -> CellResult | None:
    """The first (13 + seed) recordings are right, 4 fewer without TET, one more where the photos leak."""
    if config.train.method == "events" or (not config.train.loss.tet and config.train.seed == 3):
        return None
    right = 13 + config.train.seed - 4 * (not config.train.loss.tet) + (config.pairing.protocol != "disjoint")
    classes = tuple(CLASSES[index % 2] for index in range(NUM_RECORDINGS))
    said = tuple(CLASSES[(index + (index >= right)) % 2] for index in range(NUM_RECORDINGS))
    predictions = Predictions(tuple(f"{name}/{i}" for i, name in enumerate(classes)), classes, said)
    digest = f"split {config.pairing.seed}"
    last = evaluation_of(Predictions(predictions.sample_ids, classes, classes), CLASSES)
    reach = "some" if config.pairing.protocol != "disjoint" else "none" if config.train.loss.tet else "unknown"
    changes = {"last": last, "recordings_digest": digest, "photos_in_reach": reach}
    return CellResult(evaluation_of(predictions, CLASSES, **changes), predictions)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    path = tmp_path / "e.toml"
    path.write_text(FILE)
    monkeypatch.setattr(tables, "find_run", lambda config, workspace: workspace.runs)
    monkeypatch.setattr(tables, "read_result", lambda config, folder: made_up(config))
    return make_table(load_experiment(path), Workspace(tmp_path))


def test_figures_are_those_of_the_cells(table: Table) -> None:
    rows = {tuple(row.labels.values()): row for row in table.rows}
    method = rows["the method", "disjoint"]
    spread = method.accuracies["top1_best"]
    assert (spread.mean, spread.n) == (pytest.approx(statistics.mean([0.70, 0.75, 0.80])), 3)
    assert spread.std == pytest.approx(statistics.stdev([0.70, 0.75, 0.80]))
    assert method.accuracies["top1_last"].mean == 1
    assert method.accuracies["mean_class_accuracy_best"].mean == pytest.approx(0.75, abs=0.02)
    assert method.published == {1: pytest.approx(0.9264), 2: pytest.approx(0.971)}
    assert method.comparisons[0].difference is None
    other = rows["100 % of | $x_1$", "disjoint"]
    assert (other.num_done, other.num_seeds, other.accuracies["top1_best"].n) == (2, 3, 2)
    difference = other.comparisons[0].difference
    assert difference is not None
    assert difference.difference == pytest.approx(-0.2)  # over the two seeds that both have
    assert difference.low < -0.2 < difference.high < 0
    assert rows["not run", "disjoint"].accuracies == {}
    assert rows["elsewhere", "disjoint"].comparisons[0].difference is None  # other recordings
    assert [row.photos_in_reach for row in rows.values()] == ["none", "some", "unknown", "some", "none", None]


def test_metrics_can_be_chosen(table: Table, tmp_path: Path) -> None:
    chosen = make_table(load_experiment(tmp_path / "e.toml"), Workspace(tmp_path), ["mean_class_accuracy"])
    assert chosen.columns == ("mean_class_accuracy_best", "mean_class_accuracy_last")
    assert chosen.rows[0].accuracies["mean_class_accuracy_best"] == table.rows[0].accuracies["mean_class_accuracy_best"]


def test_csv_holds_every_number(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert float(rows[0]["top1_best_mean"]) == pytest.approx(75)
    assert float(rows[0]["top1_best_std"]) == pytest.approx(5)
    assert float(rows[2]["difference_to_the method"]) == pytest.approx(-20)
    assert (rows[0]["published_1"], rows[0]["data"], rows[1]["photos_in_reach"]) == ("92.6400", "demo", "some")
    assert rows[-1]["top1_best_mean"] == ""


@pytest.mark.parametrize(("name", "write"), [("table.md", to_markdown), ("table.csv", to_csv), ("table.tex", to_latex)])
def test_forms_are_the_golden_ones(name: str, write: object, table: Table) -> None:
    text = write(table)  # type: ignore[operator]
    if os.environ.get("WRITE_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_what_a_reader_must_know_is_said(table: Table) -> None:
    notes = "\n".join(table.notes)
    for part in (
        "Not run on the real data set",
        "(leaky): photos that held-out recordings were made from were in training",
        "(leakage unknown): whether photos that held-out recordings were made from were in training is not known",
        "the highest validation accuracy",
        "Best: the last epoch (elsewhere, disjoint)",
        "5 of 18 runs are missing",
        "[1] Somebody & others, 2024",
        "Owen 2007",
    ):
        assert part in notes
    assert np.all([row.comparisons for row in table.rows])
