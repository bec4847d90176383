"""How right, and how sure, a network's scores are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

NUM_CONFIDENCE_BINS = 15


class Accuracies(BaseModel):
    """Shares in [0, 1]."""

    model_config = ConfigDict(frozen=True)

    top1: float = Field(description="recordings whose best score is their class")
    top5: float = Field(description="recordings whose class is among the best 5 (or all, of fewer than 5 classes)")
    mean_class_accuracy: float = Field(description="mean of the classes' own top-1, over the classes in the split")


class ClassAccuracy(BaseModel):
    """One class of a split."""

    model_config = ConfigDict(frozen=True)

    name: str
    num_samples: int = Field(description="its recordings in the split (the support)")
    accuracy: float | None = Field(description="share of them named rightly, in [0, 1]; none: no recordings")


def measure(scores: Tensor, labels: Tensor) -> Accuracies:
    """Accuracies of scores (n, num_classes) against labels (n,), n at least 1."""
    confusion = confusion_matrix(scores, labels).double()
    support = confusion.sum(1)
    present = support > 0
    num_classes = scores.shape[1]
    top5 = multiclass_accuracy(scores, labels, num_classes, top_k=min(5, num_classes), average="micro")
    return Accuracies(
        top1=float(confusion.trace() / support.sum()),
        top5=float(top5),
        mean_class_accuracy=float((confusion.diagonal()[present] / support[present]).mean()),
    )


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """(num_classes, num_classes) recordings by class (row) and predicted class (column)."""
    confusion: Tensor = multiclass_confusion_matrix(scores, labels, scores.shape[1])
    return confusion


def class_accuracies(confusion: Tensor, class_names: Sequence[str]) -> tuple[ClassAccuracy, ...]:
    """One entry for each class, in label order."""
    rows = zip(class_names, confusion.tolist(), strict=True)
    return tuple(
        ClassAccuracy(name=name, num_samples=sum(row), accuracy=row[label] / sum(row) if any(row) else None)
        for label, (name, row) in enumerate(rows)
    )


def calibration_error(scores: Tensor, labels: Tensor) -> float:
    """Expected calibration error of scores (n, num_classes), before the softmax (Guo et al., ICML 2017, equation 3).

    Confidences, the largest softmax probabilities, in 15 equal bins ((m - 1) / 15, m / 15]: the mean over recordings of
    their bin's |accuracy - mean confidence|.
    """
    confidence, predicted = scores.double().softmax(1).max(1)
    bins = (confidence * NUM_CONFIDENCE_BINS).ceil().long() - 1
    surplus = torch.zeros(NUM_CONFIDENCE_BINS, dtype=torch.float64, device=scores.device)
    surplus.index_add_(0, bins, (predicted == labels).double() - confidence)
    return float(surplus.abs().sum() / len(labels))


def accuracy_after_steps(logits: Tensor, labels: Tensor) -> tuple[float, ...]:
    """(T,) top-1 of the mean of the logits (T, n, num_classes) of steps 1 to t: what an early stop would cost."""
    right = [(logits[: t + 1].mean(0).argmax(1) == labels).double().mean() for t in range(len(logits))]
    return tuple(map(float, right))
