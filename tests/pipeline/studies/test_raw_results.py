"""Raw results of a study that is run, held to the files in its runs' folders; pictures of results that are made up."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from command_line import refuse, run_command, succeed
from matplotlib.text import Text
from scipy import stats
from tiny import DEMO, write_config

from dvs_transfer import __version__
from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline.studies import cells, running
from dvs_transfer.pipeline.studies.plot import DPI, make_curves
from dvs_transfer.pipeline.studies.raw import RawResult, read_results, to_csv
from dvs_transfer.pipeline.studies.study import load_study
from dvs_transfer.stages.reporting.accuracy_chart import ChartLine, accuracy_chart

FILE = """
title = "tiny, few"
base = "tiny.toml"
data = "demo"
seeds = [42, 1024]
draws = "labels"
[[axis.seed]]
label = "1 a class"
set = { pairing.train_per_class = 1, train.batch_size = 16 }
[[axis.seed]]
label = "2 a class"
set = { pairing.train_per_class = 2 }
[[axis.training]]
label = "the method"
[[axis.training]]
label = "events alone"
set = { train.method = "events" }
"""  # an axis may be called as a column is


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's file, beside the data and the eight runs of its cells."""
    root = tmp_path_factory.mktemp("study")
    write_config(root, DEMO)
    path = root / "few.toml"
    path.write_text(FILE)
    with pytest.MonkeyPatch.context() as here:  # cells in this process
        here.setattr(running, "run_cell", lambda task, on_start, on_memory: cells._work(task, on_memory))
        succeed("--quiet", "--root", root, "study", "run", path, "--parallel", "1")
    return path


def raw(study: Path, *options: str) -> str:
    return succeed("--root", study.parent, "study", "table", study, "--format", "raw", *options).out


def test_raw_results_are_those_of_the_runs(study: Path, tmp_path: Path) -> None:
    head, *lines = csv.reader(io.StringIO(raw(study)))
    assert head[:5] == ["study", "data", "seed", "training", "seed"]
    assert [line[2:5] for line in lines] == [
        [labels, training, seed]
        for labels in ("1 a class", "2 a class")
        for training in ("the method", "events alone")
        for seed in ("42", "1024")
    ]
    cells = [dict(zip(["study", "data", "labels", *head[3:]], line, strict=True)) for line in lines]
    assert len({cell["run"] for cell in cells}) == 8
    for cell in cells:
        run = study.parent / "runs" / cell["run"]
        found, config = (json.loads((run / name).read_text()) for name in ("evaluation-test.json", "config.json"))
        for metric in ("top1", "top5", "mean_class_accuracy"):
            assert float(cell[f"{metric}_best"]) == found[metric]
            assert float(cell[f"{metric}_last"]) == found["last"][metric]
        for name in ("split", "recordings_digest", "split_digest", "selection", "photos_in_reach"):
            assert cell[name] == found[name]
        wanted = config["experiment"]
        per_class = int(cell["labels"][0])
        assert wanted["pairing"]["train_per_class"] == per_class
        assert wanted["train"]["method"] == {"the method": "transfer", "events alone": "events"}[cell["training"]]
        assert (
            wanted["train"]["seed"] == wanted["pairing"]["subset_seed"] == int(cell["seed"]) == int(cell["subset_seed"])
        )
        # ten classes of five recordings: one of each tests, one validates; batches of ten (of sixteen only if there
        # are so many), for two epochs
        assert [cell[name] for name in ("num_recordings", "train_labels", "selection_labels", "steps")] == [
            "10",
            str(10 * per_class),
            "10",
            str(2 * per_class),
        ]
        (stint,) = json.loads((run / "stints.json").read_text())
        assert (cell["device"], cell["trained"], cell["version"]) == (
            stint["device"],
            stint["ended"][:10],
            __version__,
        )
        assert 0 <= int(cell["seconds"]) < 60
    assert len({cell["recordings_digest"] for cell in cells}) == 1
    assert len({cell["split_digest"] for cell in cells}) == 4  # of each labelled subset, whatever the method

    path = tmp_path / "räw.csv"
    assert raw(study, "--out", str(path)) == f"{path}\n"
    assert path.read_text() == raw(study)
    results = read_results(path)
    assert to_csv(results, results[0].labels) == path.read_text()
    assert json.loads(raw(study, "--json")) == [result.model_dump(mode="json") for result in results]


def test_the_picture_of_a_study_that_was_run(study: Path, tmp_path: Path) -> None:
    path, picture = tmp_path / "raw.csv", tmp_path / "picture.png"
    raw(study, "--out", str(path))
    assert succeed("study", "plot", path, "--x", "seed", "--out", picture).out == f"{picture}\n"
    height, width, _ = matplotlib.image.imread(picture).shape
    assert (width, height) == (900, 510)
    shown = succeed("study", "plot", path, "--x", "seed", "--out", picture, "--json").document["curves"]
    assert [line["name"] for line in shown["lines"]] == ["the method", "events alone"]
    assert shown["note"] == "the drawn demo data, 10 test recordings, 2 or 4 steps, last epoch, mean of 2 draws"
    values = [float(cell["top1_last"]) for cell in csv.DictReader(path.read_text().splitlines())]
    point = shown["lines"][0]["points"]["1.0"]
    assert (point["n"], point["interval"]) == (2, None)
    assert point["mean"] == pytest.approx(np.mean(values[:2]))


def test_cells_that_are_not_done_have_no_row(study: Path) -> None:
    more = study.with_name("more.toml")
    more.write_text(FILE.replace("1024]", "1024, 7]"))
    assert raw(more) == raw(study)
    study.with_name("none.toml").write_text(FILE.replace("[42, 1024]", "[7]"))
    empty = study.with_name("none.csv")
    raw(study.with_name("none.toml"), "--out", str(empty))
    refuse("study", "plot", empty, "--x", "seed", "--out", "a.png", code=2, says=[f"{empty}: no results", "study run"])


def test_a_metric_cannot_be_chosen_for_raw_results(study: Path) -> None:
    outcome = run_command("study", "table", study, "--format", "raw", "--metric", "top1")
    assert (outcome.code, outcome.out) == (2, "")
    assert "raw results hold every one" in outcome.err


def made_up(
    labels: str, training: str, seed: int, top1: float | None, *, study: str = "Few", **changes: Any
) -> RawResult:
    values: dict[str, Any] = {
        "study": study,
        "data": "real",
        "labels": {"labels": labels, "training": training},
        "seed": seed,
        "subset_seed": seed,
        "run": f"run {study} {labels} {training} {seed}",
        "split": "test",
        "way": "float32, event head",
        "num_recordings": 228,
        "recordings_digest": "0123",
        "split_digest": f"{labels} {seed}",
        **{f"{metric}_last": top1 for metric in ("top1", "top5", "mean_class_accuracy")},
        **{f"{metric}_best": 0.0 for metric in ("top1", "top5", "mean_class_accuracy")},
        "selection": "last",
        "train_labels": 10,
        "selection_labels": 0,
        "steps": 800,
        "photos_in_reach": "none",
        "device": "a processor",
        "seconds": 3,
        "trained": "2026-11-28",
        "version": "1",
    }
    return RawResult(**values | changes)


ONE, TEN = [0.5, 0.6, 0.4, 0.55], [0.9, 0.92, 0.95]
FEW = [
    *(made_up("10 a class", "events", seed, top1) for seed, top1 in enumerate(TEN)),
    *(made_up("1 a class", "events", seed, top1) for seed, top1 in enumerate(ONE)),
]


def test_a_point_is_the_mean_over_draws_with_student_s_interval() -> None:
    curves = make_curves(FEW, "labels")
    (line,) = curves.lines
    assert (curves.title, curves.unit, line.name) == ("Few", "a class", "events")
    counted = "228 test recordings, 800 steps, mean of 3 to 4 draws"
    assert curves.note == f"{counted}, 95 % intervals over draws (Student's t)"
    assert line.points.keys() == {1.0, 10.0}
    for number, values in ((1.0, ONE), (10.0, TEN)):
        point = line.points[number]
        assert (point.mean, point.n) == (pytest.approx(statistics.fmean(values)), len(values))
        reach = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
        assert point.interval is not None
        assert point.interval.low == pytest.approx(point.mean - reach)
        assert point.interval.high == pytest.approx(point.mean + reach)


def test_studies_on_the_same_recordings_are_joined() -> None:
    """Whatever recordings trained. A line that both have by the same runs is drawn once; by others, once for each."""
    ours = [made_up("1 a class", "ours", seed, 0.9, study="New", steps=1600) for seed in range(3)]
    shared = [result.model_copy(update={"study": "New"}) for result in FEW[:2]]
    assert [line.name for line in make_curves([*FEW, *ours, *shared], "labels").lines] == ["events", "ours"]
    assert [line.name for line in make_curves([*shared, *ours, *FEW], "labels").lines] == ["ours", "events"]
    assert make_curves([*FEW, *FEW], "labels") == make_curves(FEW, "labels")  # a file given twice

    other = [result.model_copy(update={"run": "other", "top1_last": 0.1}) for result in shared]
    curves = make_curves([*FEW, *ours, *other], "labels")
    assert [line.name for line in curves.lines] == ["events (Few)", "ours", "events (New)"]
    assert curves.lines[0].points == make_curves(FEW, "labels").lines[0].points
    assert curves.title == "Few; New"
    assert "800 steps (events (Few), events (New)), 1,600 steps (ours)" in curves.note
    chosen = make_curves([*FEW, *ours, *other], "labels", ["ours", "events (Few)"])
    assert [line.name for line in chosen.lines] == ["ours", "events (Few)"]


def test_one_training_asked_in_two_ways_is_two_lines() -> None:
    asked = {"way": "float32, mean of both heads where two were trained", "study": "Both heads"}
    both = [made_up("10 a class", "events", seed, 0.97, **asked, run=FEW[seed].run) for seed in range(3)]
    for results in ([*FEW, *both], [*both, *FEW]):
        lines = {line.name: line.points for line in make_curves(results, "labels").lines}
        shown = lines["events (Both heads) [float32, mean of both heads where two were trained]"]
        assert shown[10].mean == pytest.approx(0.97)
        assert lines["events (Few)"][10].mean == pytest.approx(np.mean(TEN))


def test_leaks_are_marked() -> None:
    results = [
        made_up("1 a class", reach, seed, 0.5, photos_in_reach=reach)
        for reach in ("some", "unknown", "none")
        for seed in range(2)
    ]
    results[-1] = results[-1].model_copy(update={"photos_in_reach": "unknown"})  # one draw is enough
    names = [line.name for line in make_curves(results, "labels").lines]
    assert names == ["some (leaky)", "unknown (leakage unknown)", "none (leakage unknown)"]


def test_numbers_of_all_kinds_are_found_in_labels() -> None:
    labels = {"pairing.train_share 0.25": 0.25, "1,000 in all": 1000, "30 a class, 600 steps": 30, "camera-5": 5}
    labels |= {"-0.0": 0, str(0.00001): 1e-5, "2.5E+3 photos": 2500, "7e": 7, "all (36 a class)": 36}
    labels |= {"No.8": 8, ".9": 0.9}
    curves = make_curves([made_up(label, "a", 1, 0.5) for label in labels], "labels", xlabel="of all kinds")
    assert [str(place) for place in curves.lines[0].points] == [str(float(place)) for place in labels.values()]
    assert curves.unit == ""


def draw(*labels: str, only: tuple[str, ...] = (), xlabel: str | None = None) -> str:
    """The unit of a picture of a line for each label."""
    results = [made_up(label, f"line {number}", 1, 0.5) for number, label in enumerate(labels)]
    return make_curves(results, "labels", only, xlabel).unit


def test_one_axis_has_one_unit_or_a_name_of_its_own(tmp_path: Path) -> None:
    assert draw("10 a class", "1,000 a class", "all (36 a class)") == "a class"
    assert draw("0.5", "1e-05") == ""
    mixed = ("5 % of all", "10 a class", "all (10 a class)", "3")
    says = (
        "axis labels: its labels have several units: '% of all' ('5 % of all'), 'a class' ('10 a class'), none ('3'); "
        "draw them apart, or say with --xlabel what the numbers are"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        draw(*mixed)
    assert draw(*mixed, only=("line 1", "line 2")) == "a class"
    assert draw(*mixed, xlabel="labelled recordings") == ""
    path, picture = tmp_path / "raw.csv", tmp_path / "a.png"
    path.write_text(to_csv([made_up(label, "a", 1, 0.5) for label in mixed[:2]], ["labels", "training"]))
    refuse("study", "plot", path, "--x", "labels", "--out", picture, code=2, says=["several units"])
    succeed("study", "plot", path, "--x", "labels", "--xlabel", "labels", "--out", picture)


def test_what_the_shipped_studies_can_be_drawn_over(repository: Path) -> None:
    """The axes whose labels all have a number."""
    found = {}
    for path in sorted((repository / "configs" / "studies").glob("*.toml")):
        study = load_study(path)
        for axis, choices in study.file.axis.items():
            if all(re.search(r"\d", choice.label) for choice in choices):
                rows = enumerate(study.rows)
                results = [made_up("", str(n), 1, 0.5).model_copy(update={"labels": row.labels}) for n, row in rows]
                try:
                    found[path.stem, axis] = make_curves(results, axis).unit
                except ConfigError as error:
                    found[path.stem, axis] = str(error)
    refused = found.pop(("demo-few-labels", "labels"))
    assert "would be at one place, 10; make them two axes" in refused
    assert {axis: unit for (_, axis), unit in found.items()} == {
        "labels": "a class",
        "pairing.train_share": "",
        "static_share": "",
    }
    assert set(found.values()) == {"a class", ""}


def test_the_command_of_the_readme_s_picture_works(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs" / "results" / "README.md").read_text()
    (line,) = re.findall(r"^ +dvs-transfer (study plot .*)$", page, re.MULTILINE)
    *command, shown = shlex.split(line)
    assert shown == "docs/images/few-labels.png"
    monkeypatch.chdir(repository)
    curves = succeed(*command, tmp_path / "a.png", "--json").document["curves"]
    assert [of["name"] for of in curves["lines"]] == [
        command[place + 1] for place, option in enumerate(command) if option == "--line"
    ]
    assert curves["note"].startswith(
        "228 test recordings, 800 steps (events alone, the method), 1,600 steps (events alone, tuned), 6,400 steps "
        "(mixture, saccades), mean of 5 draws"
    )


@pytest.mark.parametrize(
    ("steps", "note"),
    [
        ((1600, 1600), "800 steps (events), 1,600 steps (ours)"),
        ((800, 800), "800 steps"),
        ((None, None), "800 steps (events), steps not known (ours)"),
        ((1600, None), "800 steps (events), 1,600 steps where known (ours)"),
        ((800, None), "800 steps (events), 800 steps where known (ours)"),
        ((1600, 3200), "800 steps (events), 1,600 or 3,200 steps (ours)"),
    ],
)
def test_one_line_s_steps_are_not_taken_for_those_of_all(steps: tuple[int | None, ...], note: str) -> None:
    ours = [made_up("1 a class", "ours", seed, 0.9, steps=of) for seed, of in enumerate(steps)]
    said = make_curves([*FEW, *ours], "labels").note
    assert said.partition("228 test recordings, ")[2].partition(", mean of")[0] == note


def test_steps_that_nobody_knows_are_not_told() -> None:
    assert "steps" not in make_curves([result.model_copy(update={"steps": None}) for result in FEW], "labels").note


def test_rows_whose_labels_read_alike_are_refused() -> None:
    results = [
        made_up("", str(place), 1, 0.5).model_copy(
            update={"labels": {"training": training, "labels": "1 a class", "camera": camera}}
        )
        for place, (training, camera) in enumerate([("mixture", "saccades, wider"), ("mixture, saccades", "wider")])
    ]
    with pytest.raises(
        ConfigError, match=r"two lines would be called 'mixture, saccades, wider \(Few\)': change a label"
    ):
        make_curves(results, "labels")


def test_lines_that_no_name_tells_apart_are_refused() -> None:
    """A label may look like another line's name behind which a study's title was put."""
    lines = [("1 a class", "events", "New"), ("1 a class", "events (Few)", "New")]
    more = [made_up(labels, training, 1, 0.5, study=study) for labels, training, study in lines]
    with pytest.raises(ConfigError, match=r"two lines would be called 'events \(Few\)': change a label"):
        make_curves([*FEW, *more], "labels")


def changed(**changes: Any) -> list[RawResult]:
    return [*FEW, made_up("1 a class", "ours", 2, 0.9, study="New").model_copy(update=changes)]


@pytest.mark.parametrize(
    ("results", "x", "says"),
    [
        (FEW, "label", "'Few' has no axis 'label'; it has labels, training"),
        (FEW, "training", "axis training: no number in its label 'events'"),
        (
            changed(recordings_digest="4567"),
            "labels",
            r"tested on other recordings.*\(0123\).*\(4567\); draw them apart",
        ),
        (changed(recordings_digest="4567", seed=9), "labels", "tested on other recordings"),
        (
            changed(top1_last=None),
            "labels",
            "'New', 1 a class, ours, seed 2: .* evaluate its run run New 1 a class ours 2",
        ),
        (
            [*FEW, FEW[0].model_copy(update={"run": "other"})],
            "labels",
            r"'Few', 10 a class, events, seed 0 is there tw",
        ),
        (
            [*FEW, made_up("1 a class, 99 steps", "events", 1, 0.5)],
            "labels",
            "its labels '1 a class' and '1 a class, 99 steps' would be at one place, 1",
        ),
        ([made_up("-1", "a", 1, 0.5)], "labels", "axis labels: '-1' has a number below 0, for which the axis has no"),
        ([made_up("\N{MINUS SIGN}2.5e-3", "a", 1, 0.5)], "labels", "has a number below 0"),
        ([made_up("1e999", "a", 1, 0.5)], "labels", "axis labels: '1e999' has a number that is too large"),
    ],
)
def test_what_does_not_belong_into_one_picture_is_refused(results: list[RawResult], x: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_curves(results, x)


def test_draws_with_splits_of_their_own_are_drawn_where_all_have_the_same() -> None:
    def of_draws(study: str, training: str, seeds: range) -> list[RawResult]:
        return [
            made_up("1 a class", training, s, 0.5, study=study, recordings_digest=f"of {s}", num_recordings=200 + s)
            for s in seeds
        ]

    curves = make_curves([*of_draws("A", "a", range(3)), *of_draws("B", "b", range(3))], "labels")
    assert curves.note.startswith("200 or 201 or 202 test recordings, 800 steps, mean of 3 draws")
    with pytest.raises(ConfigError, match="tested on other recordings"):
        make_curves([*of_draws("A", "a", range(3)), *of_draws("B", "b", range(3, 6))], "labels")


GOOD = to_csv(FEW, ["labels", "training"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file; `dvs-transfer study table FILE --format raw"),
        ("", "not raw results of a study"),
        ("a\0b", "not raw results of a study"),
        ("labels,n\n1,2\n", "expected the columns study, data, those of the axes, seed, subset_seed"),
        (GOOD.replace("labels,training,", ""), "expected the columns"),
        (GOOD.replace("2026-11-28,1\n", "2026-11-28\n", 1), "line 2: expected 27 values, found 26"),
        (
            GOOD.replace(",0.92,", ",1.92,", 1),
            "line 3: top1_last: Input should be less than or equal to 1 (found '1.92')",
        ),
        (GOOD.replace(",none,", ",no,"), "line 2: photos_in_reach: Input should be 'none', 'some' or 'unknown'"),
        (GOOD.replace(",228,", ",,"), "line 2: num_recordings: Input should be a valid integer"),
    ],
)
def test_files_that_are_no_raw_results_are_named(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "räw.csv"
    if text is not None:
        path.write_text(text)
    refuse("study", "plot", path, "--x", "labels", "--out", tmp_path / "a.png", code=2, says=[f"{path}: ", says])
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "a.jpg"], "a.jpg: pictures are written as PNG"),
        (["--out", "a.png", "--line", "ours"], "no line is called 'ours'; there are 'events'"),
    ],
)
def test_options_that_cannot_be_met_are_refused(options: list[str], says: str, tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_text(GOOD)
    refuse("study", "plot", path, "--x", "labels", *options, code=2, says=[says])


def test_the_page_of_results_names_every_column(repository: Path) -> None:
    page = (repository / "docs" / "results" / "README.md").read_text()
    rows = re.findall(r"^\| (.*) \| (.*) \|$", page.partition("| column |")[2], re.MULTILINE)
    labels = ("one for each axis", "the row's label on this axis")
    assert rows == [
        labels if name == "labels" else (f"`{name}`", field.description)
        for name, field in RawResult.model_fields.items()
    ]
    assert set(re.findall(r"^\| `([^`]*\.csv)`", page, re.MULTILINE)) == {
        path.name for path in (repository / "docs" / "results").glob("*.csv")
    }


def test_kept_results_are_those_of_the_page_of_measurements(repository: Path) -> None:
    results = read_results(repository / "docs" / "results" / "nmnist-few-labels.csv")
    study = load_study(repository / "configs" / "studies" / "nmnist-few-labels.toml")
    assert [(result.labels, result.seed) for result in results] == [
        (row.labels, cell.seed) for row in study.rows for cell in row.cells
    ]
    page = (repository / "docs" / "measurements" / "nmnist.md").read_text()
    for row in study.rows:
        own = [result for result in results if result.labels == row.labels]
        line = f"| {' | '.join(row.labels.values())} | 5 | {own[0].train_labels} |"
        for metric in ("top1_last", "mean_class_accuracy_last"):
            values = [100 * getattr(result, metric) for result in own]
            line += f" {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} |"
        assert line in page
        assert {result.steps for result in own} == {800}


def test_kept_results_of_saccades_are_those_of_the_page(repository: Path) -> None:
    """Beside those of the other study in the same draws."""
    folder = repository / "docs" / "results"
    saccades, others = (read_results(folder / f"nmnist-{name}.csv") for name in ("saccade-few-labels", "few-labels"))
    page = (repository / "docs" / "measurements" / "nmnist.md").read_text()
    for label in dict.fromkeys(result.labels["labels"] for result in saccades):
        own, tuned = (
            [result for result in saccades if result.labels == {"labels": label, "training": training}]
            for training in ("mixture, saccades", "events alone, tuned")
        )
        line = f"| {label} |"
        for found in (own, tuned):
            values = [100 * result.top1_last for result in found]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            line += f" {statistics.fmean(values):.1f}{spread} | {len(found)} of 5 |" if found else " | |"
        both = {mine.split_digest: mine.top1_last for mine in own}
        gains = [100 * (both[of.split_digest] - of.top1_last) for of in tuned if of.split_digest in both]
        line += f" {statistics.fmean(gains):+.1f}" if gains else ""
        if len(gains) > 2:
            reach = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
            line += f" [{statistics.fmean(gains) - reach:+.1f}, {statistics.fmean(gains) + reach:+.1f}]"
        line = line.replace("-", "\N{MINUS SIGN}")
        (shown,) = (of for of in page.splitlines() if of.startswith(line))
        line += " |"
        for training in ("events alone", "the method"):
            beside = [
                100 * result.top1_last for result in others if result.labels == {"labels": label, "training": training}
            ]
            line += f" {statistics.fmean(beside):.1f} |" if beside else " |"
        assert line == re.sub(r" \(rec\. \[[^]]*\]\)", "", shown)
        assert {result.steps for result in own} == {6400}
        assert {result.steps for result in tuned} == ({1600} if tuned else set())
        assert {result.train_labels for result in own + tuned} == {10 * int(label.split()[0])}


def test_kept_results_of_objects_are_those_of_the_page(repository: Path) -> None:
    """Of a study whose draws have no subset_seed."""
    results = read_results(repository / "docs" / "results" / "dvs128-objects.csv")
    page = (repository / "docs" / "measurements" / "cameras.md").read_text()
    assert {result.subset_seed for result in results} == {None}
    for training in ("events alone", "the method", "mixture, saccades"):
        own = [result for result in results if result.labels == {"training": training}]
        line = f"| {training} |"
        for metric in ("top1_last", "mean_class_accuracy_last"):
            values = [100 * getattr(result, metric) for result in own]
            line += f" {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} |"
        assert line in page
        assert len(own) == 5


def test_a_long_note_stays_within_the_picture() -> None:
    note = ", ".join(["228 test recordings of the split that was drawn"] * 4)
    figure = accuracy_chart([ChartLine("a", [(1, 50.0, None)])], title="t", note=note, xlabel="x", ylabel="y")
    figure.draw_without_rendering()
    (axis,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axis.texts}
    (said,) = (text for text in boxes if text.replace("\n", " ") == note)
    width, height = figure.bbox.size
    assert all(box.x0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes.values())
    assert boxes["t"].y0 >= boxes[said].y1


SIMULATED_SIGHT = {  # Machado et al. 2009, severity 1: linear RGB
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def lightness_and_hue(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIMULATED_SIGHT)
def test_lines_are_told_apart_without_red_or_green_and_by_names_that_do_not_overlap(sight: str) -> None:
    names = ["a", "b", "a name of more words than a line holds", "d"]
    lines = [ChartLine(name, [(1, 50.0, (40.0, 60.0)), (10, 90.0 + index, None)]) for index, name in enumerate(names)]
    figure = accuracy_chart(lines, title="t", note="n", xlabel="x", ylabel="y")
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    (axis,) = figure.axes
    drawn = [line for line in axis.lines if line.get_marker() in "osD^"]
    assert [list(line.get_ydata()) for line in drawn] == [[50.0, 90.0 + index] for index in range(4)]
    assert [list(line.get_ydata()) for line in axis.lines if line not in drawn] == [[40.0, 60.0]] * 4
    linear = [((np.array(matplotlib.colors.to_rgb(line.get_color())) + 0.055) / 1.055) ** 2.4 for line in drawn]
    seen = [lightness_and_hue(np.array(SIMULATED_SIGHT[sight]) @ colour) for colour in linear]
    assert min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]) > 15
    boxes = [Text.get_window_extent(text) for text in axis.texts if text.get_text().split()[0] in ("a", "b", "d")]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == 4
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
