"""Study files: the shipped ones are valid, short and long forms mean the same, every mistake is named at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline.config import load_config
from dvs_transfer.pipeline.studies.running import cells_by_data
from dvs_transfer.pipeline.studies.study import Study, load_study

SHIPPED = sorted((Path(__file__).parents[3] / "configs" / "studies").glob("*.toml"))
HEAD = 'title = "t"\nbase = "configs/demo-method.toml"\ndata = "demo"\nseeds = [1, 2]\n'
AXES = """
[axis]
train.epochs = [3, 4]

[[axis.way]]
label = "plain"

[[axis.way]]
label = "two changes"
set = { train.method = "events", "train.loss.tet" = false }
"""


def load(folder: Path, text: str, *overrides: str) -> Study:
    path = folder / "e.toml"
    path.write_text(text)
    return load_study(path, overrides)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_valid(path: Path) -> None:
    study = load_study(path)
    assert study.file.seeds[:3] == [42, 1024, 90210]  # the method's
    assert len(study.cells) == len(study.file.seeds) * len(study.rows) >= 12
    assert study.file.data == "demo" or not path.stem.startswith("demo")
    assert load_study(Path("configs/studies") / path.name).rows == study.rows  # found by name, too


def test_the_documented_file_is_valid(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "study.md").read_text().split("```")[1].removeprefix("toml\n")
    study = load(tmp_path, text.replace("../demo-method.toml", "configs/demo-method.toml"))
    assert len(study.rows) == 6


def test_every_kind_of_study_is_shipped_for_real_data_and_for_the_demo() -> None:
    names = {path.stem for path in SHIPPED}
    kinds = {"ablation", "event-share", "static-share", "leakage", "batch-norm"}
    assert {f"{data}-{kind}" for data in ("demo", "ncaltech101") for kind in kinds} < names
    assert {"cepdvs-ablation", "demo-cepdvs-ablation", "cepdvs-leakage", "simulated-leakage"} < names
    assert {"nomniglot", "demo-nomniglot"} < names
    assert {"ncaltech101-methods", "cepdvs-methods"} < names
    kinds = {"saccade-ablation", "saccade-few-labels", "few-labels", "methods", "recorded", "test-time", "batch-norm"}
    assert {f"{data}-{kind}" for data in ("demo", "nmnist") for kind in kinds} < names


def test_the_page_has_every_shipped_study_in_its_table(repository: Path) -> None:
    shipped = (repository / "docs" / "study.md").read_text().partition("## Shipped")[2]
    rows = [line.strip("|").split("|") for line in shipped.splitlines() if line.startswith("|")][2:]
    real, demo = (set(re.findall("`([^`]+)`", " ".join(column))) for column in list(zip(*rows, strict=True))[1:])
    assert real | demo == {path.stem for path in SHIPPED}
    assert demo == {name for name in real | demo if name.startswith("demo-")}


@pytest.mark.parametrize("name", ["ncaltech101", "cepdvs"])
def test_methods_are_compared_as_their_configurations_have_them(repository: Path, name: str) -> None:
    """The published method and the recipe are the runs of their own files, and the figures those of the page."""
    study = load_study(repository / "configs" / "studies" / f"{name}-methods.toml")
    cells = {row.name: row.cells[0].config for row in study.rows}
    assert cells["the method"] == load_config(repository / "configs" / f"{name}.toml")
    recipe = load_config(repository / "configs" / f"{name}-saccade.toml")
    assert cells["the method, saccades, one head"] == recipe.model_copy(update={"name": name})
    told = (repository / "docs" / "methods.md").read_text()
    for published in study.file.table.published:
        for figure in published.figures:
            assert f"{figure.top1:.2f}" in told
            reach = figure.photos_in_reach or published.photos_in_reach
            assert figure.of["training"] not in ("timestep mixup", "distillation") or reach == "unknown"


def test_the_ablation_changes_one_thing_at_a_time(repository: Path) -> None:
    """Without sliding keeps the alignment; without V is another channel."""
    for name in ("ncaltech101", "cepdvs"):
        study = load_study(repository / "configs" / "studies" / f"{name}-ablation.toml")
        trained = {row.name: row.cells[0].config.train.model_dump() for row in study.rows}
        method = trained.pop("the method")
        for row, train in trained.items():
            changed = {key for key in method if train[key] != method[key]}
            parts = {key for key in method["loss"] if train["loss"][key] != method["loss"][key]}
            assert len(changed) == 1, row
            assert len(parts) <= 1 or row.startswith("fixed coefficient")


def test_the_ablation_with_saccades_has_a_twin_of_the_demo(repository: Path) -> None:
    """The same parts are left out, and what nothing is left out of is another study's row."""
    folder = repository / "configs" / "studies"
    real, demo, methods = (
        load_study(folder / f"{name}.toml")
        for name in ("nmnist-saccade-ablation", "demo-saccade-ablation", "demo-methods")
    )
    assert demo.file.axis == real.file.axis
    assert demo.file.table == real.file.table
    for study in (real, demo):
        assert {(row.cells[0].config.train.encoding, row.cells[0].config.train.heads) for row in study.rows} == {
            ("saccade", 1)
        }
    assert demo.rows[0].cells[0].config in [row.cells[0].config for row in methods.rows]


def test_few_labels_with_saccades_have_a_twin_of_the_demo(repository: Path) -> None:
    """The recipe's method, share and encoding, and photos finer than frames, as in the studies of real photos."""
    folder = repository / "configs" / "studies"
    names = ("nmnist-saccade-few-labels", "caltech101-across-cameras", "demo-saccade-few-labels")
    studies = [load_study(folder / f"{name}.toml") for name in names]
    for study in studies:
        row = next(row for row in study.rows if row.matches({"labels": "1 a class", "training": "mixture, saccades"}))
        train = row.cells[0].config.train
        assert (train.method, train.encoding, train.options) == ("mixture", "saccade", {"share": 0.9})
        assert train.select == "last"
    demo = [row.cells[0].config for row in studies[-1].rows]
    assert {config.pairing.train_per_class for config in demo} == {1, 2, 5}
    assert all(config.images.size == 3 * config.frames.size for config in demo)


def test_axes_multiply_and_seeds_come_last(tmp_path: Path) -> None:
    study = load(tmp_path, HEAD + "[set]\nmodel.tau = 3.0\n" + AXES)
    assert [row.name for row in study.rows] == ["3, plain", "3, two changes", "4, plain", "4, two changes"]
    assert [cell.name for cell in study.cells[3:5]] == ["4, two changes, seed 1", "3, plain, seed 2"]
    train = study.rows[3].cells[1].config.train
    assert (train.epochs, train.method, train.loss.tet, train.seed) == (4, "events", False, 2)
    plain = study.rows[0].cells[0].config
    assert (plain.train.method, plain.train.loss.tet, plain.model.tau, plain.pairing.seed) == ("transfer", True, 3, 0)
    assert len(cells_by_data(study.cells)) == 1


def test_the_split_follows_the_seeds_on_request(tmp_path: Path) -> None:
    study = load(tmp_path, HEAD + "vary_split = true\n" + AXES)
    assert {(cell.seed, cell.config.pairing.seed) for cell in study.cells} == {(1, 1), (2, 2)}
    assert len(cells_by_data(study.cells)) == 2


def test_labels_are_drawn_with_the_seeds_on_request_and_shared_by_all_rows(tmp_path: Path) -> None:
    axes = AXES.replace("[axis]", "[axis]\npairing.train_per_class = [1, 3]")
    cells = load(tmp_path, HEAD + 'draws = "labels"\n' + axes).cells
    assert {(cell.seed, cell.config.train.seed, cell.config.pairing.subset_seed) for cell in cells} == {
        (1, 1, 1),
        (2, 2, 2),
    }
    assert {cell.config.pairing.seed for cell in cells} == {0}
    assert len(cells_by_data(cells)) == 2 * 2  # of each number of labels and draw, for all ways to train
    with_split = load(tmp_path, HEAD + 'draws = "labels"\nvary_split = true\n' + axes).cells
    assert {(cell.config.pairing.seed, cell.config.pairing.subset_seed) for cell in with_split} == {(1, 1), (2, 2)}


def test_there_is_nothing_to_draw_where_every_recording_trains(tmp_path: Path) -> None:
    """So that such cells share their pair store, and their runs with other studies."""
    text = HEAD + 'draws = "labels"\n[axis]\npairing.train_share = [0.5, 1.0]\n'
    half, whole = load(tmp_path, text).rows
    assert [cell.config.pairing.subset_seed for cell in half.cells] == [1, 2]
    assert [cell.config.pairing.subset_seed for cell in whole.cells] == [None, None]
    assert (
        whole.cells[0].config.pairing == load(tmp_path, text.replace("labels", "seed")).rows[1].cells[0].config.pairing
    )


def test_the_shipped_draws(repository: Path) -> None:
    folder = repository / "configs" / "studies"
    few, ablation = (load_study(folder / f"{name}.toml") for name in ("nmnist-few-labels", "demo-ablation"))
    per_class = [row.cells[0].config.pairing.train_per_class for row in few.rows]
    assert per_class == [1, 1, 3, 3, 10, 10, 30, 30]
    steps = {cell.config.train.epochs * (cell.config.train.epoch_steps or 0) for cell in few.cells}
    assert steps == {800}
    for study in (few, ablation):
        assert len(study.file.seeds) == 5
        assert all(cell.config.pairing.subset_seed == cell.seed for cell in study.cells)
        assert {(cell.config.train.select, cell.config.pairing.validation) for cell in study.cells} == {("last", 0)}


def test_an_override_is_for_all_cells(tmp_path: Path) -> None:
    text = HEAD + "[set]\nmodel.tau = 3.0\n" + AXES
    cells = load(tmp_path, text, "model.tau=4", "train.batch_size=8").cells
    assert {(cell.config.model.tau, cell.config.train.batch_size) for cell in cells} == {(4.0, 8)}
    assert {cell.config.train.epochs for cell in cells} == {3, 4}


def test_an_override_of_what_an_axis_sets_is_refused(tmp_path: Path) -> None:
    """It would have no effect, or on some rows alone."""
    text = HEAD + AXES + '[[axis.way]]\nlabel = "no options"\nset = { train.options = {} }\n'
    given = ("train.epochs=9", "train.loss={tet=true}", "train.options.share=0.5", "train.batch_size=8")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *given)
    assert str(caught.value).splitlines()[1:] == [
        "  train.epochs: set by the axis train.epochs; edit the file",
        "  train.loss.tet: set by the axis way; edit the file",
        "  train.options.share: set by the axis way; edit the file",
    ]


def test_rows_are_excluded_and_compared_by_label(tmp_path: Path) -> None:
    text = HEAD + AXES + '[[exclude]]\nway = "plain"\ntrain.epochs = 4\n[table]\nbaselines = [{ way = "plain" }]\n'
    study = load(tmp_path, text)
    assert [row.name for row in study.rows] == ["3, plain", "3, two changes", "4, two changes"]
    (baseline,) = study.file.table.baselines
    compared = [study.baseline_of(row, baseline) for row in study.rows]
    assert [row and row.name for row in compared] == ["3, plain", "3, plain", None]


def test_all_problems_of_the_file_are_named_at_once(tmp_path: Path) -> None:
    text = (
        'title = "t"\nbas = "configs/demo-method.toml"\ndata = "unreal"\nseeds = []\n'
        '[[axis.way]]\nlabl = "plain"\n[table]\nmetrics = ["top2"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for part in (
        "e.toml: 7 problems in the study file",
        "bas: unknown key; did you mean base?",
        "base: missing",
        "data: input should be 'real', 'simulated' or 'demo' (found 'unreal')",
        "seeds: ",
        "axis.way.0.label: missing",
        "axis.way.0.labl: unknown key; did you mean label?",
        "table.metrics.0: input should be 'top1' or 'mean_class_accuracy' (found 'top2')",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD.replace("[1, 2]", "[1, 1]") + AXES, ["seeds: 1 is there twice"]),
        (HEAD + '[[axis.way]]\nlabel = "a"\n[[axis.way]]\nlabel = "a"\n', ["axis.way: label 'a' is there twice"]),
        (
            HEAD + AXES + '[table]\nbaselines = [{ way = "plane", road = "x" }]\n',
            ["axis way has no 'plane'; it has plain, two changes", "no axis 'road'; there are train.epochs, way"],
        ),
        (HEAD + AXES + '[[exclude]]\nway = "plain"\n[[exclude]]\nway = "two changes"\n', ["exclude: leaves no row"]),
        (
            HEAD + AXES + '[[table.published]]\nsource = "s"\nfigures = [{ of = { way = "plain" }, top1 = 1 }]\n',
            ["table.published: {'way': 'plain'} is 3, plain; 4, plain; expected one row"],
        ),
        (
            HEAD + AXES.replace("[3, 4]", "[3]") + '[[table.published]]\nsource = "s, 2024"\nfigures = [\n'
            '{ of = { way = "plain" }, top1 = 1 }, { of = { way = "two changes" }, top1 = 1 },\n'
            '{ of = { way = "plain", train.epochs = 3 }, top1 = 2, photos_in_reach = "some" }]\n'
            '[[table.published]]\nsource = "t"\nfigures = [{ of = { way = "plain" }, top1 = 1 }]\n',
            [
                "1 problem in the rows",
                "table.published: 's, 2024' has 2 figures for '3, plain': leave one, or make a source of each",
            ],
        ),
        (
            HEAD + AXES + '[table]\nbaselines = [{ way = "plain" }, { train.epochs = 3 }, { way = "plain" }]\n',
            ["table.baselines: {'way': 'plain'} is there twice"],
        ),
        (
            HEAD + '[[axis.way]]\nlabel = "a"\n[[axis.way]]\nlabel = "b"\n',
            ["rows 'a' and 'b' have the same configuration: exclude one of them"],
        ),
        (
            HEAD + '[axis]\ntrain.epochs = [3, 4]\ntrain.batch_size = [4, 3]\n[[axis.a]]\nlabel = "x"\n[[axis.a]]\n'
            'label = "x, y"\nset = { model.tau = 3 }\n[[axis.b]]\nlabel = "y, z"\n[[axis.b]]\nlabel = "z"\n'
            "set = { model.threshold = 1 }\n",
            ["two rows are called '3, 4, x, y, z': change a label"],
        ),
        (
            HEAD + "[set]\ntrain.slidng = 1\ntrain.seed = 3\n" + AXES,
            ["train.seed: is not a study's to set (in 3, plain; 3, two changes; 4, plain and 1 more)"],
        ),
        (
            HEAD + "[set]\ntrain.slidng = 1\nmodel.tau = 0\n[axis]\ntrain.batch_size = [1, 8]\n",
            [
                "3 problems in the cells' configurations",
                "train.slidng: unknown key; did you mean sliding? (in 1; 8)",
                "model.tau: input should be greater than or equal to 1 (found 0) (in 1; 8)",
                "train.batch_size: input should be greater than or equal to 2 (found 1) (in 1)",
            ],
        ),
        (HEAD + "[axis]\ntrain = [1]\n", ["train: is a section, not a value (in 1)"]),
        (HEAD + "[axis]\nname.of = [1]\n", ["name.of: name is a value, not a section (in 1)"]),
        (
            HEAD + 'draws = "labels"\n[set]\npairing.subset_seed = 3\n' + AXES,
            ["pairing.subset_seed: follows the seeds, since draws = labels (in 3, plain"],
        ),
        (HEAD.replace('"demo"', '"real"') + AXES, ["data: 'real', but the configuration has section demo"]),
        (HEAD + '[set]\nevaluate.checkpoint = "last"\n' + AXES, ["evaluate.checkpoint: is not a study's to set"]),
        (HEAD.replace("configs/demo", "nowhere") + AXES, ["nowhere-method.toml: no such configuration file"]),
    ],
)
def test_mistakes_are_named(text: str, says: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    for part in says:
        assert part in str(caught.value)
