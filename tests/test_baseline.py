"""A configuration with a baseline: both runs are trained, evaluated, held against each other, and reported."""

from __future__ import annotations

import pytest
from command_line import refuse, succeed
from tiny import RAW, make_workspace, write_config

from dvs_transfer.cache.documents import read_json
from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline.config import load_config

BASELINE = {"baseline": {"name": "tiny-events", "train": {"method": "events"}}}


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path / "root")


def test_both_runs_are_trained_evaluated_and_reported(workspace):
    config = write_config(workspace, RAW, BASELINE)
    options = ("--quiet", "--root", workspace)
    succeed(*options, "preprocess", "--config", config)
    trained = succeed(*options, "train", "--config", config, "--json").document
    names = sorted(path.name.rsplit("-", 1)[0] for path in (workspace / "runs").iterdir())
    assert names == ["tiny-events-seed-42", "tiny-transfer-seed-42"]
    assert trained["baseline"]["run"].rpartition("/")[2].startswith("tiny-events-")
    evaluated = succeed(*options, "evaluate", "--config", config, "--json").document
    assert (evaluated["method"], evaluated["baseline"]["method"]) == ("transfer", "events")
    assert evaluated["split_digest"] == evaluated["baseline"]["split_digest"]
    text = succeed(*options, "evaluate", "--config", config).out
    assert "train.method=transfer minus train.method=events" in text
    assert f"{100 * (evaluated['top1'] - evaluated['baseline']['top1']):+.1f} points" in text
    report = succeed(*options, "report", "--config", config, "--json").document
    page = (workspace / "runs" / trained["run"].rpartition("/")[2] / "report" / "report.html").read_text()
    assert "tiny-events-" in page
    assert report


def test_the_comparison_is_of_what_was_evaluated(workspace):
    """A setting that was changed after training, with which both runs are evaluated now."""
    config = write_config(workspace, RAW, BASELINE)
    options = ("--quiet", "--root", workspace)
    for command in ("preprocess", "train"):
        succeed(*options, command, "--config", config)
    write_config(workspace, RAW, BASELINE, evaluate={"shifts": 1, "checkpoint": "last"})
    text = succeed(*options, "evaluate", "--config", config).out
    assert "train.method=transfer minus train.method=events" in text
    for path in (workspace / "runs").glob("*/evaluation-test.json"):
        kept = read_json(path)
        assert (kept["shifts"], kept["checkpoint"]) == (1, "last")


def test_data_and_run_are_those_without_a_baseline(tmp_path):
    with_baseline, alone = (load_config(write_config(tmp_path, RAW, part)) for part in (BASELINE, {}))
    first, second = with_baseline.with_baseline()
    assert first == alone
    assert second.train == alone.train.model_copy(update={"method": "events"})
    assert second.model_copy(update={"name": alone.name, "train": alone.train}) == alone
    assert alone.with_baseline() == (alone,)


def test_a_baseline_can_take_options_away(tmp_path):
    config = write_config(tmp_path, RAW, {"train": {"method": "mixture", "options": {"share": 0.8}}})
    with config.open("a") as file:
        file.write('baseline.train = { method = "events", options = {} }\n')
    first, second = load_config(config).with_baseline()
    assert (first.train.method, first.train.options) == ("mixture", {"share": 0.8})
    assert (second.train.method, second.train.options) == ("events", {})


def test_options_are_a_method_s_and_a_baseline_is_another_training(tmp_path):
    mixture = {"train": {"method": "mixture", "options": {"share": 0.8}}}
    first, second = load_config(write_config(tmp_path, RAW, mixture, BASELINE)).with_baseline()
    assert (first.train.options, second.train.options) == ({"share": 0.8}, {})
    (alone,) = load_config(write_config(tmp_path, RAW, {"train": {"method": "events"}}, BASELINE)).with_baseline()
    assert alone.train.method == "events"


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({"pairing": {"seed": 1}}, "has name, model and train alone, not pairing"),
        ({"train": {"method": "event"}}, "baseline: train: 'event' is none of"),
        ({"train": {"epoch": 3}}, "baseline: train.epoch"),
        ({"train": 3}, "baseline: train is a section, not a value"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused(tmp_path, baseline, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(tmp_path, RAW, {"baseline": baseline}))


def test_a_folder_of_ones_own_is_for_one_run(workspace):
    config = write_config(workspace, RAW, BASELINE)
    options = ("--quiet", "--root", workspace)
    succeed(*options, "preprocess", "--config", config)
    trained = succeed(*options, "train", "--config", config, "--run", workspace / "mine", "--json").document
    assert "baseline" not in trained
    refuse(*options, "evaluate", "--config", config, code=1, says=["no run here"])
