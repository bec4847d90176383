"""Evaluations made up from what was said of each recording, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dvs_transfer.stages.evaluation.evaluate import class_accuracies, measure
from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import Accuracies, EvaluationReport


def evaluation_of(predictions: Predictions, class_names: Sequence[str], **changes: Any) -> EvaluationReport:
    """A report that fits the predictions; what they do not tell is made up."""
    label = {name: index for index, name in enumerate(class_names)}
    confusion = np.zeros((len(label), len(label)), int)
    for name, said in zip(predictions.classes, predictions.predicted, strict=True):
        confusion[label[name], label[said]] += 1
    labels = torch.tensor([label[name] for name in predictions.classes])

    def accuracies_of(predicted: Sequence[str]) -> Accuracies:
        return measure(torch.eye(len(label))[[label[said] for said in predicted]], labels)

    accuracies = accuracies_of(predictions.predicted)
    last = None if predictions.predicted_last is None else accuracies_of(predictions.predicted_last).model_dump()
    values: dict[str, Any] = {
        **accuracies.model_dump(),
        "top1_interval": (0.1, 0.9),
        "mean_class_accuracy_interval": (0.2, 0.8),
        "num_resamples": 100,
        "calibration_error": 0.25,
        "top1_after_step": (0.3, accuracies.top1),
        "last": last,
        "split": "test",
        "num_samples": len(predictions.classes),
        "num_classes": len(label),
        "protocol": "disjoint",
        "photos_in_reach": {"unrestricted": "some", "unknown": "unknown"}.get(changes.get("protocol"), "none"),
        "split_digest": "0123456789ab",
        "checkpoint": "best",
        "epoch": 2,
        "selection": "validation",
        "train_labels": 240,
        "selection_labels": 100,
        "validation_per_class": 10,
        "epoch_choice": "epoch 2",
        "method": "transfer",
        "weights_digest": "xxh3:0",
        "recordings_digest": "456789abcdef",
        "classes": class_accuracies(torch.from_numpy(confusion), class_names),
        "confusion": tuple(map(tuple, confusion.tolist())),
    }
    return EvaluationReport(**(values | changes))
