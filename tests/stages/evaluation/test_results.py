"""What an evaluation leaves: read back as written, and refused when it is old, damaged or of other weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluations import evaluation_of

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import (
    current_evaluation,
    read_evaluation,
    read_predictions,
    weights_digest,
    write_results,
)

CLASS_NAMES = ("a,b", 'c"d', "e\nü", "f\x85g")
PREDICTIONS = Predictions(
    sample_ids=tuple(f"{name}/{index}" for index, name in enumerate(CLASS_NAMES)),
    classes=CLASS_NAMES,
    predicted=(*CLASS_NAMES[:3], CLASS_NAMES[0]),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with (something like) weights and an evaluation of them."""
    path = tmp_path / "checkpoints" / "best.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    report = evaluation_of(PREDICTIONS, CLASS_NAMES, weights_digest=weights_digest(tmp_path, "best"))
    write_results(tmp_path, report, PREDICTIONS)
    return tmp_path


def test_both_files_are_read_as_written_whatever_the_names(run: Path) -> None:
    report = read_evaluation(run, "test")
    assert report == evaluation_of(PREDICTIONS, CLASS_NAMES, weights_digest=report.weights_digest)
    assert read_predictions(run, report) == PREDICTIONS
    assert PREDICTIONS.correct.tolist() == [True, True, True, False]


def test_what_the_last_epoch_s_weights_said_is_kept_beside(run: Path) -> None:
    said = replace(PREDICTIONS, predicted_last=(CLASS_NAMES[1], *CLASS_NAMES[1:]))
    write_results(run, evaluation_of(said, CLASS_NAMES), said)
    report = read_evaluation(run, "test")
    assert read_predictions(run, report) == said
    assert said.correct_last is not None
    assert said.correct_last.tolist() == [False, True, True, True]
    assert (report.at("best"), report.at("last")) == (report, report.last)
    table = run / "predictions-test.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([*lines[:1], lines[1].replace('c""d', "a,b"), *lines[2:]]))
    with pytest.raises(TrainingError, match="does not hold the 4 predictions"):
        read_predictions(run, report)


def test_groups_are_kept_beside_and_count(run: Path) -> None:
    said = replace(PREDICTIONS, groups=("x", "x", "y", "y"))
    report = evaluation_of(said, CLASS_NAMES, num_groups=2, protocol="disjoint, whole recordings")
    write_results(run, report, said)
    assert read_evaluation(run, "test") == report
    assert read_predictions(run, report) == said
    with pytest.raises(TrainingError, match="does not hold the 4 predictions"):
        read_predictions(run, report.model_copy(update={"num_groups": 3}))


def test_few_groups_are_few_however_many_pieces_they_have() -> None:
    report = evaluation_of(PREDICTIONS, CLASS_NAMES).model_copy(update={"num_samples": 900})
    assert not report.has_few_recordings
    assert report.model_copy(update={"num_groups": 29}).has_few_recordings
    assert not report.model_copy(update={"num_groups": 30}).has_few_recordings


def test_an_evaluation_of_before_groups_counted_has_intervals_that_do_not_count(run: Path) -> None:
    write_results(run, evaluation_of(PREDICTIONS, CLASS_NAMES, protocol="disjoint, groups by user"), PREDICTIONS)
    with pytest.raises(TrainingError, match="take members of one group for independent; run `dvs-transfer evaluate"):
        read_evaluation(run, "test")
    assert current_evaluation(run, EvaluateConfig()) is None


def test_an_evaluation_of_before_labels_were_counted_is_read_and_not_trusted_to_choose(run: Path) -> None:
    """Neither counts of labels, nor intervals of the last epoch, nor what it said of each recording."""
    path = run / "evaluation-test.json"
    document = json.loads(path.read_text())
    for name in ("train_labels", "selection_labels", "validation_per_class"):
        del document[name]
    document["last"] = {"top1": 0.5, "top5": 1.0, "mean_class_accuracy": 0.5}
    path.write_text(json.dumps(document))
    report = current_evaluation(run, EvaluateConfig()).report
    assert report is not None
    assert (report.train_labels, report.validation_per_class, report.leads_with_last) == (None, None, True)
    assert report.last is not None
    assert report.last.top1_interval is None
    assert read_predictions(run, report).correct_last is None


def test_an_evaluation_is_current_until_its_weights_or_files_change(run: Path) -> None:
    assert current_evaluation(run, EvaluateConfig()).report == read_evaluation(run, "test")
    assert current_evaluation(run, EvaluateConfig(split="validation")) is None
    assert current_evaluation(run, EvaluateConfig(precision="bfloat16")) is None
    with pytest.raises(TrainingError, match=r"last\.safetensors: no such checkpoint"):
        current_evaluation(run, EvaluateConfig(checkpoint="last"))
    table = run / "predictions-test.csv"
    whole = table.read_bytes()
    table.write_bytes(whole[:-9])
    assert current_evaluation(run, EvaluateConfig()) is None
    table.write_bytes(whole)
    (run / "checkpoints" / "best.safetensors").write_bytes(b"better")
    assert current_evaluation(run, EvaluateConfig()) is None


def test_an_evaluation_in_mid_training_is_not_current_when_the_last_epoch_s_weights_went_on(run: Path) -> None:
    """`best` stays as it was: the figures of `last` alone are old. An earlier version did not say what they were of."""
    last = run / "checkpoints" / "last.safetensors"
    last.write_bytes(b"epoch 1")
    assert current_evaluation(run, EvaluateConfig()) is None  # it does not say of which
    report = read_evaluation(run, "test").model_copy(update={"last_weights_digest": weights_digest(run, "last")})
    write_results(run, report, PREDICTIONS)
    assert current_evaluation(run, EvaluateConfig()).report == report
    last.write_bytes(b"epoch 2")
    assert current_evaluation(run, EvaluateConfig()) is None
    last.unlink()
    assert current_evaluation(run, EvaluateConfig()).report == report


def test_there_is_none_yet(run: Path) -> None:
    with pytest.raises(TrainingError, match=rf"not evaluated yet; run `dvs-transfer evaluate {run} --split valid"):
        read_evaluation(run, "validation")


def test_an_earlier_version_s_evaluation_says_what_to_do(run: Path) -> None:
    path = run / "evaluation-test.json"
    old = json.loads(path.read_text())
    old = {key: old[key] for key in ("top1", "top5", "mean_class_accuracy", "split", "num_samples", "num_classes")}
    path.write_text(json.dumps(old))
    says = rf"an earlier version wrote it, without .*confusion.*; run `dvs-transfer evaluate {run} --split test` again"
    with pytest.raises(TrainingError, match=says):
        read_evaluation(run, "test")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff", b'{"top1": "high"}'])
def test_a_damaged_evaluation_is_named(run: Path, content: bytes) -> None:
    (run / "evaluation-test.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"evaluation-test\.json: damaged"):
        read_evaluation(run, "test")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0", b"sample_id,class,predicted\n", b"sample_id,class,predicted\na,b,zebra\n", b"1,2,3\n" * 5],
)
def test_damaged_and_foreign_predictions_are_named(run: Path, content: bytes) -> None:
    (run / "predictions-test.csv").write_bytes(content)
    with pytest.raises(TrainingError, match=r"predictions-test\.csv: does not hold the 4 predictions .* test` again"):
        read_predictions(run, read_evaluation(run, "test"))
    (run / "predictions-test.csv").unlink()
    with pytest.raises(TrainingError, match=r"predictions-test\.csv: does not hold"):
        read_predictions(run, read_evaluation(run, "test"))


def test_a_field_of_megabytes_is_damage(run: Path) -> None:
    """Found by `make fuzz`."""
    with (run / "predictions-test.csv").open("a") as file:
        file.write("x" * 200_000)
    with pytest.raises(TrainingError, match="does not hold the 4 predictions"):
        read_predictions(run, read_evaluation(run, "test"))
