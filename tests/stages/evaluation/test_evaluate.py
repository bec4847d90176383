from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
import torch
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.evaluation import evaluate
from dvs_transfer.stages.evaluation.evaluate import Accuracies, _predictions, measure, run
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import EvaluateConfig, ModelConfig, TrainConfig


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(epochs=12, batch_size=8, base_learning_rate=0.3, warmup_epochs=1, threads=1)
    loop.run(ModelConfig(widths=(8, "P", 8, "P")), config, open_tiny_split, folder)
    return folder


def test_report_is_returned_and_written(run_folder):
    report = run(EvaluateConfig(), open_tiny_split, run_folder)
    assert report.top1 > 0.9
    assert (report.num_samples, report.num_classes, report.split) == (16, 4, "test")
    assert (report.protocol, report.split_digest) == ("disjoint", "0123456789ab")
    assert (report.checkpoint, report.selection, report.method) == ("best", "validation", "transfer")
    assert json.loads((run_folder / "evaluation-test.json").read_text()) == report.model_dump()


def test_predictions_are_written_for_each_recording_and_give_the_report_s_accuracy(run_folder):
    report = run(EvaluateConfig(split="validation"), open_tiny_split, run_folder)
    split = open_tiny_split("validation")
    with (run_folder / "predictions-validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == list(split.sample_ids)
    assert [row["class"] for row in rows] == [split.class_names[label] for label in split.event_labels]
    assert {row["predicted"] for row in rows} <= set(split.class_names)
    assert sum(row["class"] == row["predicted"] for row in rows) / len(rows) == pytest.approx(report.top1)


def test_class_names_with_commas_and_quotes_survive_the_table(run_folder):
    split = replace(open_tiny_split("test"), class_names=("a,b", 'c"d', "e\u00fc", "f g"))
    table = _predictions(split, torch.eye(4)[torch.arange(16) % 4])
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["class"] for row in rows] == [row["predicted"] for row in rows]
    assert {row["class"] for row in rows} == set(split.class_names)


def test_validation_accuracy_of_the_last_epoch_is_the_one_that_training_saw(run_folder):
    report = run(EvaluateConfig(split="validation", checkpoint="last"), open_tiny_split, run_folder)
    last = json.loads((run_folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert report.top1 == pytest.approx(last["validation_accuracy"])
    assert report.epoch == 12
    assert report.last == Accuracies(**{name: getattr(report, name) for name in Accuracies.model_fields})
    assert run(EvaluateConfig(split="validation"), open_tiny_split, run_folder).last == report.last


def test_batch_size_does_not_change_the_result(run_folder):
    reports = [run(EvaluateConfig(batch_size=n), open_tiny_split, run_folder) for n in (1, 5, 64)]
    assert reports[0] == reports[1] == reports[2]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_precision_is_what_the_evaluation_computes_in_and_its_report_says(run_folder, precision, monkeypatch):
    used = []
    monkeypatch.setattr(evaluate, "in_precision", lambda network, name: used.append(name) or network)
    report = run(EvaluateConfig(precision=precision), open_tiny_split, run_folder)
    assert used == [precision, precision]  # the checkpoint asked for, and the last one
    assert report.precision == precision
    assert json.loads((run_folder / "evaluation-test.json").read_text())["precision"] == precision


def test_measure():
    # Class 0: 3 of 4 right; class 1: 0 of 1; class 2 is predicted once but absent; class 3: 1 of 1
    labels = torch.tensor([0, 0, 0, 0, 1, 3])
    scores = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 2, 0, 3]), 4).float()
    accuracies = measure(scores, labels)
    assert accuracies.top1 == pytest.approx(4 / 6)
    assert accuracies.mean_class_accuracy == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert accuracies.top5 == 1


def test_top5_looks_at_five():
    scores = torch.arange(10.0).repeat(3, 1)
    assert measure(scores, torch.tensor([5, 9, 4])).top5 == pytest.approx(2 / 3)


def test_missing_and_damaged_weights_are_refused(tmp_path, run_folder):
    with pytest.raises(TrainingError, match=r"best\.safetensors: no such checkpoint"):
        run(EvaluateConfig(), open_tiny_split, tmp_path)
    path = tmp_path / "checkpoints" / "best.safetensors"
    path.parent.mkdir()
    whole = (run_folder / "checkpoints" / "best.safetensors").read_bytes()
    for content in (b"", b"\xff" * 64, whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"best\.safetensors: not a checkpoint of dvs-transfer, or damaged"):
            run(EvaluateConfig(), open_tiny_split, tmp_path)


def test_another_split_is_refused(run_folder):
    with pytest.raises(TrainingError, match=r"trained on split 0123456789ab .* found split other"):
        run(EvaluateConfig(), lambda name: replace(open_tiny_split(name), split_digest="other"), run_folder)


def test_empty_split_is_refused(run_folder):
    with pytest.raises(TrainingError, match="the test split has no recordings"):
        run(EvaluateConfig(), lambda name: replace(open_tiny_split(name), num_recordings=0), run_folder)
