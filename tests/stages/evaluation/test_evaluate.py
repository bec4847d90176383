from __future__ import annotations

import csv
import json
import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from tiny_networks import NETWORKS, write_run
from tiny_run import train
from tiny_split import TinySplit, open_tiny_split
from torchmetrics.functional.classification import multiclass_calibration_error

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.pipeline import summaries
from dvs_transfer.stages.evaluation import evaluate
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.evaluation.evaluate import describe_choice, measure, run
from dvs_transfer.stages.evaluation.results import LastEpoch, current_evaluation, read_evaluation, read_predictions
from dvs_transfer.stages.evaluation.statistics import NUM_RESAMPLES, bootstrap_interval
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.networks import SpikingNetwork
from dvs_transfer.stages.runs.checkpoint import CheckpointInfo, load_weights, save_weights, weights_path
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig


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
    assert json.loads((run_folder / "evaluation-test.json").read_text()) == report.model_dump(mode="json")


def test_an_evaluation_is_no_newer_than_weights_that_come_meanwhile(run_folder, tmp_path):
    run_copy = shutil.copytree(run_folder, tmp_path / "run")

    def open_split(name):  # a training keeps an epoch
        weights_path(run_copy, "last").touch()
        return open_tiny_split(name)

    run(EvaluateConfig(), open_split, run_copy)
    times = [path.stat().st_mtime for path in (run_copy / "evaluation-test.json", weights_path(run_copy, "last"))]
    assert times[0] < times[1]


def test_a_folder_that_may_not_be_written_to_is_told_before_anything_is_read(run_folder, tmp_path, monkeypatch):
    def open_split(name):
        raise AssertionError("measured")

    with pytest.raises(TrainingError, match=r"a\.npz: no folder there that you may write to"):
        run(EvaluateConfig(), open_split, run_folder, tmp_path / "gone" / "a.npz")
    monkeypatch.setattr(os, "access", lambda path, mode: path != run_folder)  # tests may run as root
    with pytest.raises(TrainingError, match="you may not write there; copy the folder, and evaluate the copy"):
        run(EvaluateConfig(), open_split, run_folder)


@pytest.mark.parametrize(
    ("in_pool", "settings", "expected"),
    [
        ("some", {"method": "transfer"}, "some"),
        ("some", {"method": "finetune"}, "some"),
        ("unknown", {"method": "transfer"}, "unknown"),
        ("none", {"method": "transfer"}, "none"),
        ("some", {"method": "events"}, "none"),  # no image was shown to it
        ("unknown", {"method": "events"}, "none"),
        ("some", {"method": "transfer", "sliding": "events"}, "none"),  # every image was replaced
        ("some", {"method": "transfer", "sliding": "static"}, "some"),
    ],
)
def test_leaky_is_what_was_taught(in_pool, settings, expected, tmp_path):
    def open_split(name):
        return replace(open_tiny_split(name), protocol="unrestricted", photos_in_reach=in_pool)

    config = TrainConfig(epochs=2, batch_size=8, threads=1, warmup_epochs=0, **settings)
    trained = loop.run(ModelConfig(widths=(4, "P", 4, "P")), config, open_split, tmp_path)
    report = run(EvaluateConfig(), open_split, tmp_path)
    assert (trained.photos_in_reach, report.photos_in_reach) == (expected, expected)
    assert json.loads((tmp_path / "evaluation-test.json").read_text())["photos_in_reach"] == expected


@pytest.mark.parametrize(
    ("method", "protocol", "expected"),
    [("transfer", "disjoint", "unknown"), ("events", "unrestricted", "none"), ("imported", "unknown", "unknown")],
)
def test_of_weights_of_an_earlier_version_is_told_what_the_data_tell(method, protocol, expected):
    older = {
        **{"model": ModelConfig(), "method": method, "class_names": ("a", "b"), "num_steps": 3, "size": 16, "epoch": 1},
        **{"selection": "last", "accuracy": None, "protocol": protocol, "split_digest": "0", "cache_fingerprint": "1"},
    }
    split = replace(open_tiny_split("test"), photos_in_reach="unknown")
    assert CheckpointInfo.model_validate(older).photos_in_reach_of(split) == expected


def test_predictions_are_written_for_each_recording_and_give_the_report_s_accuracy(run_folder):
    report = run(EvaluateConfig(split="validation"), open_tiny_split, run_folder)
    split = open_tiny_split("validation")
    with (run_folder / "predictions-validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == list(split.sample_ids)
    assert [row["class"] for row in rows] == [split.class_names[label] for label in split.event_labels]
    assert {row["predicted"] for row in rows} <= set(split.class_names)
    assert sum(row["class"] == row["predicted"] for row in rows) / len(rows) == pytest.approx(report.top1)


def test_validation_accuracy_of_the_last_epoch_is_the_one_that_training_saw(run_folder):
    report = run(EvaluateConfig(split="validation", checkpoint="last"), open_tiny_split, run_folder)
    last = json.loads((run_folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert report.top1 == pytest.approx(last["validation_accuracy"])
    assert report.epoch == 12
    assert report.last == LastEpoch(**{name: getattr(report, name) for name in LastEpoch.model_fields})
    assert run(EvaluateConfig(split="validation"), open_tiny_split, run_folder).last == report.last


def test_the_report_is_current_until_the_last_epoch_s_weights_are_others(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    report = run(EvaluateConfig(), open_tiny_split, folder)
    assert current_evaluation(folder, EvaluateConfig()).report == report
    network, info = load_weights(weights_path(folder, "last"), torch.device("cpu"))
    save_weights(weights_path(folder, "last"), network, info.model_copy(update={"epoch": info.epoch + 1}))
    assert current_evaluation(folder, EvaluateConfig()) is None


def test_a_training_that_was_stopped_is_told(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    assert run(EvaluateConfig(), open_tiny_split, folder).unfinished == ""
    network, info = load_weights(weights_path(folder, "last"), torch.device("cpu"))
    save_weights(weights_path(folder, "last"), network, info.model_copy(update={"epoch": 5}))
    stopped = run(EvaluateConfig(), open_tiny_split, folder)
    assert stopped.unfinished == "5 of 12 epochs"
    assert any("(stopped after 5 of 12 epochs)" in line for line in summaries.of_evaluation(folder, stopped))


def test_best_and_last_are_told_apart_where_their_weights_are_the_same(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    shutil.copyfile(weights_path(folder, "last"), weights_path(folder, "best"))
    run(EvaluateConfig(checkpoint="last"), open_tiny_split, folder)
    assert current_evaluation(folder, EvaluateConfig()) is None
    run(EvaluateConfig(), open_tiny_split, folder)
    for name in ("best", "last"):
        assert current_evaluation(folder, EvaluateConfig(checkpoint=name)).report.checkpoint == name


@pytest.mark.parametrize(("selection", "num_choosing"), [("validation", 12), ("last", 0), ("test_as_released", 16)])
def test_labels_that_the_run_saw_are_counted(run_folder, tmp_path, selection, num_choosing):
    """24 recordings train, 12 validate, 16 test, in four classes; the ones that chose the epoch were seen too."""
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(run_folder / "config.json", tmp_path)
    for name in ("best", "last"):
        network, info = load_weights(weights_path(run_folder, name), torch.device("cpu"))
        save_weights(weights_path(tmp_path, name), network, info.model_copy(update={"selection": selection}))
    report = run(EvaluateConfig(), open_tiny_split, tmp_path)
    assert (report.train_labels, report.selection_labels, report.validation_per_class) == (24, num_choosing, 3)
    assert report.leads_with_last
    assert (report.unlabelled_recordings, report.unlabelled_use, report.unlabelled) == (0, "", "")


@pytest.mark.parametrize(
    ("unlabelled", "use"),
    [
        ({"adapt": True}, "AdaBN"),
        ({"consistency_weight": 0.5}, "FixMatch"),
        ({"adapt": True, "consistency_weight": 0.5}, "AdaBN and FixMatch"),
    ],
)
def test_recordings_that_taught_without_labels_are_counted_beside_them(run_folder, tmp_path, unlabelled, use):
    """Of 40 that may train, 24 are labelled."""
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    document = json.loads((folder / "config.json").read_text())
    document["train"]["unlabelled"] = unlabelled
    (folder / "config.json").write_text(json.dumps(document))
    report = run(EvaluateConfig(), open_tiny_split, folder)
    assert (report.train_labels, report.unlabelled_recordings, report.unlabelled_use) == (24, 16, use)
    assert report.unlabelled == f"drawn from 16 for {use}"
    assert read_evaluation(folder, "test") == report


def test_labels_of_imported_weights_are_not_known(run_folder, tmp_path):
    network, info = load_weights(weights_path(run_folder, "best"), torch.device("cpu"))
    info = info.model_copy(update={"method": "imported", "selection": "test_as_released"})
    (tmp_path / "checkpoints").mkdir()
    save_weights(weights_path(tmp_path, "best"), network, info)
    report = run(EvaluateConfig(), open_tiny_split, tmp_path)
    assert (report.train_labels, report.selection_labels, report.last) == (None, None, None)
    assert (report.unlabelled_recordings, report.unlabelled) == (None, "")
    assert read_predictions(tmp_path, report).correct_last is None


def test_batch_size_does_not_change_the_result(run_folder):
    """But for the last bits of the logits, which the calibration error is made of."""
    first, *others = (run(EvaluateConfig(batch_size=n), open_tiny_split, run_folder).model_dump() for n in (1, 5, 64))
    first["calibration_error"] = pytest.approx(first["calibration_error"], rel=1e-6)
    assert all(other == first for other in others)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_precision_is_what_the_evaluation_computes_in_and_its_report_says(run_folder, precision, monkeypatch):
    used = []
    monkeypatch.setattr(evaluate, "in_precision", lambda network, name: used.append(name) or network)
    report = run(EvaluateConfig(precision=precision), open_tiny_split, run_folder)
    assert used == [precision, precision]  # the checkpoint asked for, and the last one
    assert report.precision == precision
    assert json.loads((run_folder / "evaluation-test.json").read_text())["precision"] == precision


def test_all_that_is_reported_agrees_with_the_predictions_and_logits(run_folder, tmp_path):
    report = run(EvaluateConfig(), open_tiny_split, run_folder, tmp_path / "logits.npz")
    predictions = read_predictions(run_folder, report)
    split = open_tiny_split("test")
    assert predictions.sample_ids == split.sample_ids
    assert predictions.correct.mean() == pytest.approx(report.top1)
    assert report.num_resamples == NUM_RESAMPLES
    interval = bootstrap_interval(predictions.correct)
    assert report.top1_interval == (interval.low, interval.high)
    interval = bootstrap_interval(predictions.correct, np.array(predictions.classes))
    assert report.mean_class_accuracy_interval == (interval.low, interval.high)
    assert report.last is not None
    assert predictions.correct_last.mean() == pytest.approx(report.last.top1)
    interval = bootstrap_interval(predictions.correct_last)
    assert report.last.top1_interval == (interval.low, interval.high)
    assert [entry.name for entry in report.classes] == list(split.class_names)
    assert np.mean([entry.accuracy for entry in report.classes]) == pytest.approx(report.mean_class_accuracy)
    assert np.array(report.confusion).sum(1).tolist() == [entry.num_samples for entry in report.classes] == [4] * 4
    with np.load(tmp_path / "logits.npz") as file:
        steps = [(file["logits"][: t + 1].mean(0).argmax(1) == file["label"]).mean() for t in range(3)]
        scores = torch.from_numpy(file["logits"].mean(0))
    assert report.top1_after_step == pytest.approx(steps)
    assert report.top1_after_step[-1] == report.top1
    error = multiclass_calibration_error(scores.softmax(1), torch.from_numpy(split.event_labels), 4, n_bins=15)
    assert report.calibration_error == pytest.approx(float(error), abs=1e-6)


def test_the_static_branch_is_not_computed(run_folder, tmp_path, monkeypatch):
    """With a static head of NaN that may not be called, all is as before; and nobody reads an image."""
    expected = run(EvaluateConfig(), open_tiny_split, run_folder)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(run_folder / "config.json", tmp_path)
    for name in ("best", "last"):
        path = weights_path(run_folder, name)
        network, info = load_weights(path, torch.device("cpu"))
        for parameter in network.static_head.parameters():
            parameter.data.fill_(math.nan)
        save_weights(weights_path(tmp_path, name), network, info)

    def refuse(*_):
        raise AssertionError("the static branch")

    head = SpikingNetwork._head
    monkeypatch.setattr(
        SpikingNetwork, "_head", lambda *arguments: refuse() if arguments[1] == "static" else head(*arguments)
    )
    monkeypatch.setattr(TinySplit, "load_images", refuse)
    monkeypatch.setattr(TinySplit, "load_values", refuse)
    report = run(EvaluateConfig(), open_tiny_split, tmp_path)
    assert report.weights_digest != expected.weights_digest
    digests = {name: getattr(expected, name) for name in ("weights_digest", "last_weights_digest")}
    assert report.model_copy(update=digests) == expected


def test_only_the_split_that_is_asked_for_is_opened(run_folder):
    opened = []
    run(EvaluateConfig(split="validation"), lambda name: opened.append(name) or open_tiny_split(name), run_folder)
    assert opened == ["validation"]


def test_a_run_in_which_nothing_is_evaluated_never_opens_the_test_split(tmp_path):
    opened = []
    train(tmp_path, open_split=lambda name: opened.append(name) or open_tiny_split(name))
    assert set(opened) == {"train", "validation"}


@pytest.mark.parametrize(
    ("selection", "method", "checkpoint", "split", "says"),
    [
        (
            "validation",
            "transfer",
            "best",
            "test",
            "epoch 7, which had the best top-1 on the validation",
        ),
        ("validation", "transfer", "best", "validation", "evaluated here, which flatters the result"),
        ("test_as_released", "events", "best", "test", "as in the released code; they are the ones evaluated here"),
        ("last", "transfer", "best", "test", "the last epoch, 7; nothing was selected"),
        ("validation", "transfer", "last", "test", "the last epoch, 7; nothing was selected"),
        ("test_as_released", "imported", "last", "test", "epoch 7, as published: the best on its authors' test"),
    ],
)
def test_how_the_epoch_was_chosen_is_said(run_folder, selection, method, checkpoint, split, says):
    _, info = load_weights(weights_path(run_folder, "best"), torch.device("cpu"))
    info = info.model_copy(update={"epoch": 7, "selection": selection, "method": method, "accuracy": 0.5})
    assert says in describe_choice(EvaluateConfig(checkpoint=checkpoint, split=split), info)


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


def test_weights_from_before_statistics_were_kept_by_domain_are_read(tmp_path):
    """Their description says nothing of running statistics, and both domains share theirs."""
    folder = write_run(tmp_path / "run", NETWORKS["vgg_snn"].model_copy(update={"running_statistics": "shared"}))
    expected = run(EvaluateConfig(), open_tiny_split, folder)
    for name in ("best", "last"):
        path = weights_path(folder, name)
        with safe_open(path, framework="pt") as file:
            info = json.loads(file.metadata()["dvs_transfer"])
        del info["model"]["running_statistics"]
        tensors = safetensors.torch.load_file(path)
        safetensors.torch.save_file(tensors, path, {"dvs_transfer": json.dumps(info)})
    report = run(EvaluateConfig(), open_tiny_split, folder)
    digests = {name: getattr(expected, name) for name in ("weights_digest", "last_weights_digest")}
    assert report.model_copy(update=digests) == expected


def test_another_split_is_refused(run_folder):
    with pytest.raises(TrainingError, match=r"trained on split 0123456789ab .* found split other"):
        run(EvaluateConfig(), lambda name: replace(open_tiny_split(name), split_digest="other"), run_folder)


def test_empty_split_is_refused(run_folder):
    with pytest.raises(TrainingError, match="the test split has no recordings"):
        run(EvaluateConfig(), lambda name: replace(open_tiny_split(name), num_recordings=0), run_folder)


def test_a_mixture_without_recordings_used_no_label(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    document = json.loads((folder / "config.json").read_text())
    document["train"] |= {"method": "mixture", "options": {"share": 1}, "unlabelled": {"adapt": True}}
    (folder / "config.json").write_text(json.dumps(document))
    report = run(EvaluateConfig(), open_tiny_split, folder)
    assert (report.train_labels, report.unlabelled_recordings) == (0, 40)


def test_of_equal_scores_the_first_counts_for_the_best_five_as_for_the_best() -> None:
    found = measure(torch.zeros(50, 101), torch.zeros(50, dtype=torch.int64))
    assert (found.top1, found.top5) == (1, 1)
    assert measure(torch.zeros(101, 101), torch.arange(101)).top5 == pytest.approx(5 / 101)
