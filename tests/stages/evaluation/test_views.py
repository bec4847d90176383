"""Moved views, both heads and statistics of unlabelled recordings, against NumPy and logits of each head alone."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_networks import NETWORKS, write_run
from tiny_run import changed, train
from tiny_split import TinySplit, open_tiny_split
from torch import nn

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.batches.loading import OnDevice
from dvs_transfer.stages.evaluation import views
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.evaluation.evaluate import run
from dvs_transfer.stages.evaluation.results import current_evaluation, read_evaluation
from dvs_transfer.stages.evaluation.views import predict_views, scores_after_steps
from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.runs.checkpoint import load_weights, save_weights, weights_path

CPU = torch.device("cpu")
MOVES = {"as it is": (0, 0), "right": (2, 0), "left": (-2, 0), "down": (0, 2), "up": (0, -2)}


def moved(frames, right, down):
    """Pixel by pixel."""
    out = np.zeros_like(frames)
    height, width = frames.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[..., y, x] = frames[..., y - down, x - right]
    return out


@dataclass(frozen=True)
class MovedSplit(TinySplit):
    """The test recordings moved by NumPy."""

    move: tuple[int, int] = (0, 0)

    def load_events(self, indices=slice(None)):
        return moved(super().load_events(indices), *self.move)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Learned so little that views disagree."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, changed(epochs=5))
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def logits_of(folder, path, config=EvaluateConfig(), split=None):  # noqa: B008
    """(T, n, C) in double precision, of the evaluated weights."""
    run(config, open_tiny_split if split is None else lambda name: split, folder, path)
    with np.load(path) as file:
        return file["logits"].astype(np.float64)


# Views ----------------------------------------------------------------------------------------------------------------


class Echo(nn.Module):
    """Shows what it is shown: a logit for each pixel of ON."""

    def forward(self, frames, domain):
        assert domain == "event"
        return frames[:, :, 1].flatten(2)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_views_are_recordings_moved_each_way(n):
    frames = np.random.default_rng(1).poisson(1.0, (5, 3, 2, 6, 5)).astype(np.float32)
    events = OnDevice(torch.from_numpy(frames), torch.zeros(5))
    views = predict_views(Echo(), events, EvaluateConfig(shifts=n, batch_size=2))
    assert len(views) == 5
    for view, move in zip(views, [(0, 0), (n, 0), (-n, 0), (0, n), (0, -n)], strict=True):
        expected = moved(frames, *move)[:, :, 1].reshape(5, 3, -1).swapaxes(0, 1)
        np.testing.assert_array_equal(view, expected)
    (alone,) = predict_views(Echo(), events, EvaluateConfig())
    assert torch.equal(alone, views[0])


def test_scores_are_those_of_the_mean_probabilities():
    views = np.random.default_rng(2).normal(0, 4, (5, 3, 7, 4))
    scores = scores_after_steps([torch.from_numpy(view).float() for view in views])
    assert scores.shape == (3, 7, 4)
    for step in range(3):
        expected = softmax(views[:, : step + 1].mean(1)).mean(0)
        np.testing.assert_allclose(softmax(scores[step].numpy()), expected, rtol=1e-5)
        np.testing.assert_allclose(scores[step].exp(), expected, rtol=1e-5)
    alone = scores_after_steps([torch.from_numpy(views[0])])
    np.testing.assert_allclose(alone[1], views[0, :2].mean(0), rtol=1e-12)


def test_probabilities_that_are_nearly_none_still_have_an_order():
    view = torch.tensor([[[0.0, -2000.0, -1000.0]]])
    assert scores_after_steps([view] * 5)[0, 0].argsort().tolist() == [1, 2, 0]


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_an_evaluation_is_that_of_recordings_moved_beforehand(folder, tmp_path, checkpoint):
    probabilities, labels = [], TinySplit("test", 16).event_labels
    for name, move in MOVES.items():
        split = MovedSplit("test", 16, move=move)
        logits = logits_of(folder, tmp_path / f"{name}.npz", EvaluateConfig(checkpoint=checkpoint), split)
        so_far = [logits[: step + 1].mean(0) for step in range(3)]
        probabilities.append(softmax(np.stack(so_far)))
    named = {name: of[-1].argmax(1).tolist() for name, of in zip(MOVES, probabilities, strict=True)}
    assert len(set(map(tuple, named.values()))) > 2  # views differ
    mean = np.mean(probabilities, 0)
    report = run(EvaluateConfig(checkpoint=checkpoint, shifts=2), open_tiny_split, folder)
    assert report.top1 == pytest.approx((mean[-1].argmax(1) == labels).mean())
    assert report.top1_after_step == pytest.approx([(of.argmax(1) == labels).mean() for of in mean])
    with (folder / "predictions-test.csv").open() as file:
        said = [row["predicted"] for row in csv.DictReader(file)]
    assert said == [TinySplit().class_names[label] for label in mean[-1].argmax(1)]
    confidence, right = mean[-1].max(1), mean[-1].argmax(1) == labels
    bins = np.ceil(15 * confidence)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(1, 16)]
    assert report.calibration_error == pytest.approx(sum(gaps) / 16, rel=1e-5)
    if checkpoint == "last":
        assert report.last.top1 == report.top1


def test_what_a_report_says_and_when_it_is_current(folder):
    plain, both = EvaluateConfig(), EvaluateConfig(shifts=1, heads="both")
    report = run(both, open_tiny_split, folder)
    assert (report.shifts, report.heads) == (1, "both")
    assert (
        report.way
        == "float32, mean of both heads where two were trained, mean of 5 views (0 and ±1 pixels along x and y)"
    )
    written = json.loads((folder / "evaluation-test.json").read_text())
    assert (written["shifts"], written["heads"]) == (1, "both")
    assert current_evaluation(folder, both).report == report
    for other in (plain, EvaluateConfig(shifts=1), EvaluateConfig(heads="both"), EvaluateConfig(shifts=2)):
        assert current_evaluation(folder, other) is None
    report = run(plain, open_tiny_split, folder)
    assert report.way == "float32, event head"
    path = folder / "evaluation-test.json"  # as an earlier version wrote it, which knew no other way
    document = json.loads(path.read_text())
    del document["shifts"], document["heads"]
    path.write_text(json.dumps(document))
    assert current_evaluation(folder, plain).report == report == read_evaluation(folder, "test")


def test_evaluations_that_were_asked_for_otherwise_stay_until_the_weights_are_others(folder):
    """Each with its own predictions; the files of the split are the newest one's."""
    settings = [EvaluateConfig(**asked) for asked in ({}, {"shifts": 1}, {"shifts": 2}, {"checkpoint": "last"})]
    reports = [run(config, open_tiny_split, folder) for config in (*settings, settings[1])][1:]
    reports = [current_evaluation(folder, settings[0]).report, reports[3], *reports[1:3]]
    assert [report.shifts for report in reports] == [0, 1, 2, 0]
    assert [report.checkpoint for report in reports] == ["best"] * 3 + ["last"]
    assert len({report.calibration_error for report in reports[:3]}) == 3
    assert read_evaluation(folder, "test") == reports[1]
    for config, report in zip(settings, reports, strict=True):
        found = current_evaluation(folder, config)
        assert found.report == report
        assert found.predictions.correct.mean() == pytest.approx(report.top1)
    names = {path.name for path in folder.glob("predictions-*.csv")}
    assert names == {"predictions-test.csv"} | {
        f"predictions-test-{way}.csv"
        for way in ("best-float32-event-0", "best-float32-event-1", "best-float32-event-2", "last-float32-event-0")
    }
    (folder / "predictions-test-best-float32-event-2.csv").write_text("")
    assert current_evaluation(folder, settings[2]) is None
    network, info = load_weights(weights_path(folder, "last"), torch.device("cpu"))
    save_weights(weights_path(folder, "last"), network, info.model_copy(update={"epoch": info.epoch + 1}))
    assert [current_evaluation(folder, config) for config in settings] == [None] * 4


def test_statistics_of_recordings_without_labels_are_means_of_what_a_layer_receives(folder, monkeypatch):
    """The first layer's against NumPy: of all that may train, and of nothing else."""
    network, _ = load_weights(weights_path(folder, "last"), CPU)
    recordings = open_tiny_split("test").unlabelled
    monkeypatch.setattr(views, "ADAPTED_BATCH", 10)
    found = views.with_statistics_of(recordings, network, CPU)
    norms = [next(m for m in of.modules() if isinstance(m, BatchNormOverTime)) for of in (network, found)]
    convolution = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        received = convolution(torch.from_numpy(recordings.load_events().astype(np.float32)).flatten(0, 1)).numpy()
    name, variance = (next(n for n in norms[1].state_dict() if n.endswith(f"running_{of}")) for of in ("mean", "var"))
    means, variances = (norms[1].state_dict()[key].numpy() for key in (name, variance))
    assert means == pytest.approx(received.mean((0, 2, 3)), abs=1e-5)
    assert variances == pytest.approx(received.var((0, 2, 3)), rel=0.2)  # means of those within batches
    assert not np.allclose(means, norms[0].state_dict()[name].numpy(), atol=1e-3)


def test_an_evaluation_with_them_says_so_and_leaves_the_weights(folder, monkeypatch):
    plain, adapting = EvaluateConfig(), EvaluateConfig(adapt=True)
    before, weights = run(plain, open_tiny_split, folder), weights_path(folder, "best").read_bytes()
    report = run(adapting, open_tiny_split, folder)
    assert (report.adapt, report.way) == (True, "float32, event head, statistics of unlabelled recordings")
    assert (report.unlabelled_recordings, report.unlabelled_use) == (16, "AdaBN")
    assert report.calibration_error != before.calibration_error
    assert weights_path(folder, "best").read_bytes() == weights
    assert current_evaluation(folder, adapting).report == report
    assert current_evaluation(folder, plain).report == before
    assert {path.name for path in folder.glob("evaluation-*")} >= {"evaluation-test-best-float32-event-0.json"}
    monkeypatch.setattr(views, "BatchNormOverTime", torch.nn.Bilinear)
    with pytest.raises(TrainingError, match=r"evaluate\.adapt = true: the network has no batch norm"):
        run(adapting, open_tiny_split, folder)


def test_what_cannot_be_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"evaluate\.shifts = 16: expected less than a frame's side, 16 pixels"):
        run(EvaluateConfig(shifts=16), open_tiny_split, folder)
    with pytest.raises(TrainingError, match=r"evaluate\.shifts = 1: .* save logits with evaluate\.shifts = 0"):
        run(EvaluateConfig(shifts=1), open_tiny_split, folder, tmp_path / "logits.npz")
    assert not (folder / "evaluation-test.json").exists()
    assert not (tmp_path / "logits.npz").exists()


def test_a_configuration_without_is_what_it_was():
    document = EvaluateConfig().model_dump(mode="json")
    assert not {"heads", "shifts", "adapt"} & document.keys()
    asked = EvaluateConfig(heads="both", shifts=2, adapt=True)
    assert EvaluateConfig.model_validate(asked.model_dump(mode="json")) == asked


# Heads ----------------------------------------------------------------------------------------------------------------


def exchange_heads(folder):
    """In both files of weights."""
    for name in ("best", "last"):
        path = weights_path(folder, name)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        swapped = {
            key.replace("event_head", "x").replace("static_head", "event_head").replace("x.", "static_head."): value
            for key, value in tensors.items()
            if "head" in key
        }
        save_file(tensors | swapped, path, metadata)


@pytest.mark.parametrize("method", ["transfer", "timestep_mixup"])
def test_both_heads_are_the_mean_of_their_logits(tmp_path, method):
    folder = tmp_path / "run"
    train(folder, changed(method=method))
    event = logits_of(folder, tmp_path / "event.npz")
    both = logits_of(folder, tmp_path / "both.npz", EvaluateConfig(heads="both"))
    exchange_heads(folder)
    static = logits_of(folder, tmp_path / "static.npz")
    assert np.abs(event - static).max() > 0.1
    np.testing.assert_allclose(both, (event + static) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"heads": 1}, {"method": "events"}, {"method": "mixture"}])
def test_a_head_that_was_not_trained_says_nothing(tmp_path, changes):
    """Its weights are there, as they were drawn."""
    folder = tmp_path / "run"
    train(folder, changed(**changes, epochs=1))
    event = logits_of(folder, tmp_path / "event.npz")
    np.testing.assert_array_equal(logits_of(folder, tmp_path / "both.npz", EvaluateConfig(heads="both")), event)


@pytest.mark.parametrize(("model", "method"), [("scnn", "transfer"), ("vgg_snn", "imported")])
def test_networks_with_one_head_and_imported_ones(tmp_path, model, method):
    folder = write_run(tmp_path / "run", NETWORKS[model], method)
    event = logits_of(folder, tmp_path / "event.npz")
    both = logits_of(folder, tmp_path / "both.npz", EvaluateConfig(heads="both"))
    assert np.array_equal(both, event) == (model == "scnn")
