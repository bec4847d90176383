"""Accuracies, calibration and the curve over time steps, against counts by hand and torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from dvs_transfer.stages.evaluation.evaluate import (
    accuracy_after_steps,
    calibration_error,
    class_accuracies,
    confusion_matrix,
    measure,
)
from dvs_transfer.stages.evaluation.views import scores_after_steps

# Class 0: 3 of 4 right; class 1: 0 of 1; class 2 is predicted once but absent; class 3: 1 of 1
LABELS = torch.tensor([0, 0, 0, 0, 1, 3])
SCORES = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 2, 0, 3]), 4).float()


def scores_of_confidence(*confidences: float) -> torch.Tensor:
    """Scores of two classes whose softmax gives class 0 these probabilities."""
    return torch.tensor([[math.log(p / (1 - p)), 0.0] for p in confidences], dtype=torch.float64)


def test_measure() -> None:
    accuracies = measure(SCORES, LABELS)
    assert accuracies.top1 == pytest.approx(4 / 6)
    assert accuracies.mean_class_accuracy == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert accuracies.top5 == 1


def test_top5_looks_at_five() -> None:
    scores = torch.arange(10.0).repeat(3, 1)
    assert measure(scores, torch.tensor([5, 9, 4])).top5 == pytest.approx(2 / 3)


def test_confusion_has_classes_in_rows_and_predictions_in_columns() -> None:
    confusion = confusion_matrix(SCORES, LABELS)
    assert confusion.tolist() == [[3, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    entries = class_accuracies(confusion, "abcd")
    assert [(entry.name, entry.num_samples, entry.accuracy) for entry in entries] == [
        ("a", 4, 0.75),
        ("b", 1, 0.0),
        ("c", 0, None),
        ("d", 1, 1.0),
    ]


def test_calibration_error_by_hand() -> None:
    """Two of four right at 0.7, in one bin: 0.2 off. One of one right at 0.9, in another: 0.1 off."""
    scores, labels = scores_of_confidence(0.7, 0.7, 0.7, 0.7, 0.9), torch.tensor([0, 0, 1, 1, 0])
    assert calibration_error(scores, labels) == pytest.approx((4 * 0.2 + 0.1) / 5)


def test_what_is_wrong_both_ways_in_one_bin_cancels_and_in_two_does_not() -> None:
    near, far = scores_of_confidence(0.74, 0.76), scores_of_confidence(0.65, 0.9)
    labels = torch.tensor([0, 1])
    assert calibration_error(near, labels) == pytest.approx(0.25)
    assert calibration_error(far, labels) == pytest.approx((0.35 + 0.9) / 2)


def test_certainty_belongs_to_the_last_bin() -> None:
    """At 1 - 2e-9 and at exactly 1, one right and one wrong: half of what is said is wrong."""
    scores = torch.tensor([[20.0, 0.0], [2000.0, 0.0]])
    assert calibration_error(scores, torch.tensor([0, 1])) == pytest.approx(0.5)


def test_calibration_error_is_torchmetrics_s() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = 2 * torch.randn(500, 7, generator=generator)
    labels = torch.where(torch.rand(500, generator=generator) < 0.5, scores.argmax(1), 0)
    expected = multiclass_calibration_error(scores.softmax(1), labels, 7, n_bins=15)
    assert calibration_error(scores, labels) == pytest.approx(float(expected), abs=1e-6)


def test_the_curve_over_steps_is_of_the_mean_so_far() -> None:
    """Recording 0: right by its mean at the end, by the last step alone not. Recording 1: right, wrong, right."""
    logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[3.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 9.0]]])
    assert accuracy_after_steps(scores_after_steps([logits]), torch.tensor([0, 1])) == (0.5, 0.5, 1.0)
