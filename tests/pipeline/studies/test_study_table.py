"""The table: its numbers from known outcomes, and its three forms held to files.

After a wanted change: python -m pytest tests/pipeline/studies -k golden with WRITE_GOLDEN=1, then read the diff.
"""

from __future__ import annotations

import csv
import io
import os
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import evaluation_of
from scipy import stats

from dvs_transfer.pipeline.config import ExperimentConfig
from dvs_transfer.pipeline.progress import to_document
from dvs_transfer.pipeline.studies import table as tables
from dvs_transfer.pipeline.studies.formats import to_csv, to_latex, to_markdown
from dvs_transfer.pipeline.studies.study import load_study
from dvs_transfer.pipeline.studies.table import Table, make_table
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import Outcome

GOLDEN = Path(__file__).parent / "golden"
CLASSES = ("ant", "bee")
FILE = """
title = "Leaks & gains_1"
base = "configs/demo-method.toml"
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
photos_in_reach = "some"
figures = [{ of = { way = "the method", protocol = "disjoint" }, top1 = 92.64 }]

[[table.published]]
source = "Others, 2025"
figures = [
    { of = { way = "the method", protocol = "disjoint" }, top1 = 97.1 },
    { of = { way = "not run", protocol = "disjoint" }, top1 = 79.66, photos_in_reach = "none" },
]
"""
NUM_RECORDINGS = 20


def outcome(right: int, right_last: int | None, **facts: Any) -> Outcome:
    """The first recordings are named rightly: `right` by the evaluated weights, `right_last` by the last epoch's."""
    classes = tuple(CLASSES[index % 2] for index in range(NUM_RECORDINGS))

    def say(count: int) -> tuple[str, ...]:
        return tuple(CLASSES[(index + (index >= count)) % 2] for index in range(NUM_RECORDINGS))

    ids = tuple(f"{name}/{i}" for i, name in enumerate(classes))
    predictions = Predictions(ids, classes, say(right), None if right_last is None else say(right_last))
    return Outcome(evaluation_of(predictions, CLASSES, **facts), predictions)


def made_up(config: ExperimentConfig) -> Outcome | None:
    """The first (10 + seed) recordings are right, 3 to 5 fewer without TET, one more where the photos leak; of the last
    epoch's weights one fewer. Without TET under `unrestricted` a draw is missing."""
    seed, tet, leaks = config.train.seed, config.train.loss.tet, config.pairing.protocol != "disjoint"
    if config.train.method == "events" or (not tet and leaks and seed == 3):
        return None
    right = 10 + seed - (0 if tet else (3, 5, 4)[seed - 1]) + leaks
    selects = config.train.select == "validation"
    facts = {"selection": config.train.select, "selection_labels": 12 if selects else 0, "train_labels": 24}
    digest = f"split {config.pairing.seed}"
    reach = "some" if leaks else "none" if tet else "unknown"
    return outcome(
        right, right - selects, recordings_digest=digest, validation_per_class=6, photos_in_reach=reach, **facts
    )


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    """The table of a study file whose cells are `results`."""

    def load(text: str, results: Callable[[ExperimentConfig], Outcome | None]) -> Table:
        path = tmp_path / "e.toml"
        path.write_text(text)
        monkeypatch.setattr(tables, "find_run", lambda config, workspace: workspace.runs)
        monkeypatch.setattr(tables, "read_result", lambda config, folder: results(config))
        return make_table(load_study(path), Workspace(tmp_path))

    return load


@pytest.fixture
def table(load: Callable[..., Table]) -> Table:
    return load(FILE, made_up)


def test_figures_are_those_of_the_cells(table: Table) -> None:
    rows = {tuple(row.labels.values()): row for row in table.rows}
    method = rows["the method", "disjoint"]
    assert table.checkpoints == ("last", "best")  # six validation recordings a class chose
    spread = method.accuracies["top1_best"]
    assert (spread.mean, spread.n) == (pytest.approx(statistics.mean([0.55, 0.60, 0.65])), 3)
    assert spread.std == pytest.approx(statistics.stdev([0.55, 0.60, 0.65]))
    assert spread.interval is not None
    assert method.accuracies["top1_last"].mean == pytest.approx(0.55)
    assert method.accuracies["mean_class_accuracy_best"].mean == pytest.approx(0.60, abs=0.02)
    assert method.published == {1: pytest.approx(0.9264), 2: pytest.approx(0.971)}
    assert method.published_reach == {1: "some", 2: "unknown"}
    assert rows["not run", "disjoint"].published_reach == {2: "none"}
    assert method.comparisons[0].differences == {}
    assert (method.seen.train, method.seen.selection) == (24, 12)
    assert rows["not run", "disjoint"].accuracies == {}
    assert rows["elsewhere", "disjoint"].comparisons[0].differences == {}  # other recordings
    assert rows["elsewhere", "disjoint"].seen.selection == 0
    assert [row.photos_in_reach for row in rows.values()] == ["none", "some", "unknown", "some", "none", None]


def test_differences_are_paired_draw_by_draw(table: Table) -> None:
    comparison = next(row for row in table.rows if row.labels["way"].startswith("100")).comparisons[0]
    assert list(comparison.differences) == ["last", "best"]
    for difference in comparison.differences.values():
        expected = stats.ttest_1samp([-0.15, -0.25, -0.20], 0)
        bounds = expected.confidence_interval(0.95)
        assert difference.difference == pytest.approx(-0.20)
        assert difference.draws is not None
        assert (difference.draws.low, difference.draws.high) == pytest.approx((bounds.low, bounds.high))
        assert difference.p == pytest.approx(expected.pvalue)
        assert difference.recordings is not None
        assert difference.recordings.low < -0.2 < difference.recordings.high < 0
    assert comparison.verdict == "behind"


def test_fewer_draws_than_three_have_no_interval_and_no_verdict_in_any_form(table: Table) -> None:
    row = next(row for row in table.rows if row.labels["way"].startswith("100") and row.photos_in_reach == "some")
    assert (row.num_done, row.num_seeds, row.accuracies["top1_best"].interval) == (2, 3, None)
    comparison = row.comparisons[0]
    assert comparison.verdict is None
    for difference in comparison.differences.values():
        assert difference.difference == pytest.approx(-0.2)
        assert (difference.n, difference.draws, difference.p, difference.recordings) == (2, None, None, None)
    document = to_document(table)["rows"][3]
    assert document["comparisons"][0]["differences"]["last"]["draws"] is None
    assert document["comparisons"][0]["verdict"] is None
    for text, cells in (
        (to_markdown(table), "| \N{MINUS SIGN}20.0 [\N{EN DASH}] | \N{MINUS SIGN}20.0 [\N{EN DASH}] | \N{EN DASH} |"),
        (to_latex(table), r"& $-$20.0 [--] & $-$20.0 [--] & -- &"),
    ):
        assert cells in text
        assert "an interval and a verdict need 3 draws that both rows have" in text
    line = list(csv.DictReader(io.StringIO(to_csv(table))))[3]
    assert line["last_difference_to_the method"] == "-20.0000"
    assert {line[f"last_{part}_to_the method"] for part in ("low", "high", "p", "recordings_low")} == {""}
    assert line["verdict_to_the method"] == line["top1_last_low"] == ""


TWO_WAYS = """
title = "t"
base = "configs/demo-method.toml"
data = "demo"
seeds = [1, 2, 3, 4, 5]

[[axis.way]]
label = "a"

[[axis.way]]
label = "b"
set = { train.method = "events" }

[table]
baselines = [{ way = "b" }]
"""


@pytest.mark.parametrize("section", ["train.unlabelled", "evaluate"])
def test_recordings_that_taught_without_labels_are_a_note_and_no_part_of_the_row(
    load: Callable[..., Table], section: str
) -> None:
    text = TWO_WAYS.replace('{ train.method = "events" }', f"{{ {section}.adapt = true }}")

    def results(config: ExperimentConfig, **facts: Any) -> Outcome:
        return outcome(8, 8, **(facts if config.train.unlabelled.adapt or config.evaluate.adapt else {}))

    said = "Beside the labels seen, recordings of the training split taught without theirs: "
    for facts, told in (
        ({"unlabelled_recordings": 1940, "unlabelled_use": "AdaBN"}, "1,940 for AdaBN (b)."),
        ({}, "not known how many for AdaBN (b)."),  # an earlier evaluation
    ):
        table = load(text, partial(results, **facts))
        assert [note for note in table.notes if note.startswith(said)] == [said + told]
        assert [row.labels["way"] for row in table.rows] == ["a", "b"]
    assert not any(note.startswith(said) for note in load(TWO_WAYS, results).notes)


@pytest.mark.parametrize(("last", "verdict"), [(18, "ahead"), (8, "open"), (None, None)])
def test_a_method_is_never_ahead_on_best_alone(
    load: Callable[..., Table], last: int | None, verdict: str | None
) -> None:
    """A clear gain of `best`, in every draw; of the last epoch's weights as large, none, or not known."""

    def results(config: ExperimentConfig) -> Outcome:
        if config.train.method == "events":
            return outcome(8, 8)
        return outcome(18, last)

    table = load(TWO_WAYS, results)
    (comparison,) = table.rows[0].comparisons
    assert any("evaluate such runs again" in note for note in table.notes) == (verdict is None)
    assert comparison.verdict == verdict
    assert comparison.differences["best"].difference == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("select", "per_class", "columns"),
    [
        ("validation", 10, ["top1_best", "top1_last"]),
        ("validation", 9, ["top1_last", "top1_best"]),
        ("validation", None, ["top1_last", "top1_best"]),
        ("last", 0, ["top1_last"]),
    ],
)
def test_columns_follow_how_well_best_was_chosen(
    load: Callable[..., Table], select: str, per_class: int | None, columns: list[str]
) -> None:
    facts = {"selection": select, "validation_per_class": per_class, "train_labels": 30}
    text = TWO_WAYS.replace("[table]", '[table]\nmetrics = ["top1"]')
    table = load(text, lambda config: outcome(9, 8, selection_labels=2 * (per_class or 0), **facts))
    assert list(table.columns) == columns
    assert any("Last comes first" in note for note in table.notes) == (columns == ["top1_last", "top1_best"])
    head, _, first, *_ = to_markdown(table).splitlines()[2:]
    assert head.split(" | ")[1:4] == [
        "n",
        "labels seen",
        {"best": "top-1, best", "last": "top-1, last"}[columns[0][5:]],
    ]
    assert first.split(" | ")[2] == (f"30 + {2 * per_class}" if per_class else "30")


def test_draws_with_their_own_split_are_paired_on_their_own_recordings(load: Callable[..., Table]) -> None:
    def results(config: ExperimentConfig) -> Outcome:
        split = config.pairing.seed
        result = outcome(
            8 + 6 * (config.train.method != "events"), None, checkpoint="last", recordings_digest=f"split {split}"
        )
        ids = tuple(f"{name} of {split}" for name in result.predictions.sample_ids)
        return replace(result, predictions=replace(result.predictions, sample_ids=ids))

    own = load(TWO_WAYS.replace("[[axis.way]]", "vary_split = true\n[[axis.way]]", 1), results)
    shared = load(TWO_WAYS, results)
    widths = []
    assert any("Student's t over draws (other draws, their splits too)" in note for note in own.notes)
    assert any("Student's t over draws (other draws, these recordings)" in note for note in shared.notes)
    for table in (own, shared):
        recordings = table.rows[0].comparisons[0].differences["last"].recordings
        assert recordings is not None
        widths.append(recordings.high - recordings.low)
    assert widths[0] == pytest.approx(widths[1] / 5**0.5, rel=0.15)  # five times as many recordings


def test_drawn_labels_are_said(load: Callable[..., Table]) -> None:
    text = TWO_WAYS.replace("[[axis.way]]", 'draws = "labels"\nset = { pairing.train_per_class = 3 }\n[[axis.way]]', 1)
    drawn = "over n draws (seeds 1, 2, 3, 4, 5; each with its own labelled recordings; all with one split)"
    for results in (lambda config: None, lambda config: outcome(9, 8, split_digest=f"{config.pairing.subset_seed}")):
        assert drawn in "\n".join(load(text, results).notes)


@pytest.mark.parametrize(
    "how", ['draws = "labels"\nset = { pairing.train_per_class = 999 }', "set = { pairing.subset_seed = 3 }"]
)
def test_labels_that_are_the_same_in_each_draw_are_not_said_to_be_drawn(load: Callable[..., Table], how: str) -> None:
    """More a class than there are, so that all train, as the splits tell; or one subset for all draws."""
    text = TWO_WAYS.replace("[[axis.way]]", f"{how}\n[[axis.way]]", 1)
    notes = "\n".join(load(text, lambda config: outcome(9, 8)).notes)
    assert "over n draws (seeds 1, 2, 3, 4, 5; all with one split)" in notes


def test_labels_are_drawn_where_not_all_train(load: Callable[..., Table]) -> None:
    text = TWO_WAYS.replace("[[axis.way]]", 'draws = "labels"\nset = { pairing.train_per_class = 3 }\n[[axis.way]]', 1)
    text = text.replace("{ train.method", "{ pairing.train_per_class = 999, train.method")

    def results(config: ExperimentConfig) -> Outcome:
        all_train = config.pairing.train_per_class == 999
        return outcome(9, 8, split_digest="all" if all_train else f"{config.pairing.subset_seed}")

    notes = "\n".join(load(text, results).notes)
    assert "each with its own labelled recordings where not all train; all with one split)" in notes


@pytest.mark.parametrize(
    ("finished", "digest", "pattern"),
    [
        (5, "0", r"\+10\.0 \[.*\] \(rec\. \[.*\]\)"),
        (4, "0", r"\+10\.0 \[.*\] \(rec\. \[.*\]\) \(n 4\)"),
        (2, "0", r"\+10\.0 \[.*\] \(n 2\)"),
        (0, "0", "missing"),
        (5, "1", "not comparable"),
    ],
)
def test_a_difference_says_of_how_many_draws_it_is_and_why_there_is_none(
    load: Callable[..., Table], finished: int, digest: str, pattern: str
) -> None:
    """finished: draws of the baseline, where the row has five. digest: of the baseline's recordings."""

    def results(config: ExperimentConfig) -> Outcome | None:
        if config.train.method != "events":
            return outcome(12, 12, recordings_digest="0")
        return outcome(10, 10, recordings_digest=digest) if config.train.seed <= finished else None

    table = load(TWO_WAYS, results)
    for text, between in ((to_markdown(table), " | "), (to_latex(table), " & ")):
        row = next(line for line in text.splitlines() if line.removeprefix("| ").startswith(f"a{between}"))
        for cell in row.split(between)[-3:-1]:
            assert re.fullmatch(pattern, cell), cell


@pytest.mark.parametrize("way", [{"shifts": 2}, {"heads": "both"}, {"precision": "int8"}, {"adapt": True}])
def test_rows_evaluated_in_other_ways_are_compared_and_named(load: Callable[..., Table], way: dict[str, Any]) -> None:
    """The file says how each row is evaluated: what that is worth is what it asks for."""

    def results(config: ExperimentConfig) -> Outcome:
        return outcome(12, 12, **(way if config.train.method == "events" else {}))

    table = load(TWO_WAYS, results)
    assert table.rows[0].comparisons[0].differences
    default, other = (note for note in table.notes if "Evaluated with" in note)
    assert default == "Evaluated with: float32, event head, where nothing else is said."
    assert other.endswith(" (b).")
    assert not any("Evaluated with" in note for note in load(TWO_WAYS, lambda config: outcome(9, 8)).notes)


BASELINES = """
title = "t"
base = "configs/demo-method.toml"
data = "demo"
seeds = [1, 2, 3]

[[axis.first]]
label = "x"

[[axis.first]]
label = "y"
set = { train.method = "events" }

[[axis.second]]
label = "x"

[[axis.second]]
label = "z"
set = { train.batch_size = 9 }

[table]
baselines = [{ first = "x" }, { second = "x" }, { second = "z" }]
"""


def test_baselines_whose_labels_read_alike_are_told_apart_by_their_axes(load: Callable[..., Table]) -> None:
    """In every form; another one is called by its labels alone."""
    table = load(BASELINES, lambda config: outcome(9, 8))
    assert table.baselines == ("first=x", "second=x", "z")
    heads = next(csv.reader(io.StringIO(to_csv(table))))
    assert len({*heads}) == len(heads)
    assert {"verdict_to_first=x", "verdict_to_second=x", "verdict_to_z"} < {*heads}
    for text in (to_markdown(table), to_latex(table)):
        for name in table.baselines:
            assert text.count(f"best, less {name}") == 1


@pytest.mark.parametrize("num_groups", [None, 5])
def test_recordings_in_groups_are_said(load: Callable[..., Table], num_groups: int | None) -> None:
    """One row is enough."""

    def results(config: ExperimentConfig) -> Outcome:
        return outcome(9, 8, num_groups=num_groups if config.train.method == "events" else None)

    said = "Recordings are in groups, such as pieces of one, which intervals over recordings resample whole."
    assert load(TWO_WAYS, results).notes.count(said) == (num_groups is not None)


def test_metrics_can_be_chosen(table: Table, tmp_path: Path) -> None:
    chosen = make_table(load_study(tmp_path / "e.toml"), Workspace(tmp_path), ["mean_class_accuracy"])
    assert chosen.columns == ("mean_class_accuracy_last", "mean_class_accuracy_best")
    assert chosen.rows[0].accuracies["mean_class_accuracy_best"] == table.rows[0].accuracies["mean_class_accuracy_best"]


def test_csv_holds_every_number(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert float(rows[0]["top1_best_mean"]) == pytest.approx(60)
    assert float(rows[0]["top1_best_std"]) == pytest.approx(5)
    assert float(rows[0]["top1_best_low"]) == pytest.approx(60 - 12.421, abs=1e-3)
    assert float(rows[2]["best_difference_to_the method"]) == pytest.approx(-20)
    assert float(rows[2]["last_high_to_the method"]) == pytest.approx(-20 + 12.421, abs=1e-3)
    assert (rows[2]["last_n_to_the method"], rows[2]["verdict_to_the method"]) == ("3", "behind")
    assert (rows[0]["train_labels"], rows[0]["selection_labels"]) == ("24", "12")
    assert (rows[0]["published_1"], rows[0]["data"], rows[1]["photos_in_reach"]) == ("92.6400", "demo", "some")
    assert rows[-1]["top1_best_mean"] == ""
    assert [row["way"] for row in rows] == ["float32, event head" if row["n"] != "0" else "" for row in rows]


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
        "4 of 18 runs are missing",
        "[1] Somebody & others, 2024",
        "Student's t over draws",
        "those that chose the epoch of best. Labels of static images are not counted",
    ):
        assert part in notes
    assert np.all([row.comparisons for row in table.rows])
